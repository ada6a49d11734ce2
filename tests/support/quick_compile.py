"""Quick compilation: tests run most programs once or twice, and most of that time is compilers'.

Three things make it twice as quick: LLVM does not optimise, each fusion becomes LLVM's code
without MLIR between, and a program is one module of LLVM's, not up to 32.
"""

OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
DEFAULTS = {"xla_cpu_use_fusion_emitters": True, "xla_cpu_parallel_codegen_split_count": 32}


def quick_environment(num_devices: int = 1) -> dict[str, str]:
    """Return what makes a process of so many CPU devices compile quickly."""
    options = OPTIONS | {"xla_force_host_platform_device_count": num_devices}
    flags = " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
    return {"XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
