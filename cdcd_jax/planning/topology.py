"""Devices that this machine does not have, described for the compilers that make their programs."""

import math
import os
import re
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

LAYOUTS = {
    "tpu-v4": "2x2x1, 2x2x2, 2x2x4 or 4x4x4",
    "tpu-v5e": "1x1, 2x2, 2x4, 4x4, 4x8, 8x8, 8x16 or 16x16",
    "tpu-v5p": "2x2x1, 2x2x2, 2x2x4 or 4x4x4",
    "tpu-v6e": "1x1, 2x2, 2x4, 4x4, 4x8, 8x8, 8x16 or 16x16",
    "h100": "1x8, which is hosts x GPUs of each, or 8x8",
    "h200": "1x8, which is hosts x GPUs of each, or 8x8",
    "b200": "1x8, which is hosts x GPUs of each, or 8x8",
}
"""Arrangements of the devices that can be described, by name of the hardware: examples."""

MAX_DEVICES = 1024

_QUIET = {
    # Without these libtpu asks a server of Google's for the machine that it is on.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_MIN_LOG_LEVEL": "4",
    "TPU_STDERR_LOG_LEVEL": "4",
    # A process that only compiles takes no TPU from another one.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

# What XLA reads of a GPU: of NVIDIA's data sheets, and its CUDA programming guide, table of
# technical specifications by compute capability.
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: {cores}
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: {bandwidth} l2_cache_size: {cache}
  clock_rate_ghz: {clock} device_memory_size: {memory}
  shared_memory_per_block_optin: 232448 cuda_compute_capability {{ major: {major} minor: 0 }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "NVIDIA {title}"
"""
_GPUS = {
    "h100": {"cores": 132, "cache": 50 << 20, "clock": 1.98, "major": 9},
    "h200": {"cores": 132, "cache": 60 << 20, "clock": 1.98, "major": 9},
    "b200": {"cores": 148, "cache": 126 << 20, "clock": 1.965, "major": 10},
}


class Topology(NamedTuple):
    """Devices to compile for.

    Attributes:
        devices: They cannot compute; a mesh of them can be compiled for.
        compiler: What makes their programs, with its version.
    """

    devices: Sequence[Any]
    compiler: str


def parse_layout(hardware: str, layout: str) -> tuple[int, ...]:
    """Read an arrangement of devices, such as 4x4.

    Args:
        hardware: A key of ``LAYOUTS``.
        layout: Numbers of devices along each side.

    Raises:
        ValueError: The hardware cannot be described, or does not come in such a form.

    >>> parse_layout("tpu-v5e", "4x4")
    (4, 4)
    """
    if hardware not in LAYOUTS:
        raise ValueError(
            f"topology = {layout}: there is no compiler for {hardware} here; take hardware = "
            f"{', '.join(LAYOUTS)}, or --devices=N in place of the topology"
        )
    sides = LAYOUTS[hardware].split(",")[0].count("x") + 1
    found = re.fullmatch("x".join([r"([1-9]\d{0,3})"] * sides), layout)
    if found is None or math.prod(int(side) for side in found.groups()) > MAX_DEVICES:
        raise ValueError(_refusal(hardware, layout))
    return tuple(int(side) for side in found.groups())


def _refusal(hardware: str, layout: str) -> str:
    return (
        f"topology = {layout} is no arrangement of {hardware}; take one such as {LAYOUTS[hardware]}"
    )


def missing_compiler(hardware: str) -> str | None:
    """Say how to install the compiler for some hardware, or None if it is there.

    Args:
        hardware: A key of ``LAYOUTS``.

    Raises:
        ValueError: It is there in a version that this JAX does not take.
    """
    if not hardware.startswith("tpu"):
        if find_spec("jax_cuda12_plugin") is None:
            return 'the compiler for CUDA is not installed: pip install "cdcd_jax[cuda]"'
        return None
    if find_spec("libtpu") is None:
        return 'the compiler for TPUs is not installed: pip install "cdcd_jax[tpu]"'
    needs = " ".join(metadata.requires("jax") or ())
    wanted, found = re.search(r"libtpu==([\d.]+)\.\*", needs), metadata.version("libtpu")
    if wanted and not f"{found}.".startswith(f"{wanted[1]}."):
        raise ValueError(
            f"libtpu is of version {found}, but jax {jax.__version__} takes {wanted[1]}: "
            f'pip install "jax[tpu]=={jax.__version__}"'
        )
    return None


def describe_topology(hardware: str, layout: str, memory: float, bandwidth: float) -> Topology:
    """Describe devices for their own compiler, which is installed.

    Args:
        hardware: A key of ``LAYOUTS``.
        layout: Numbers of devices along each side, such as 4x4; of GPUs, hosts x GPUs of each.
        memory: Bytes of a device.
        bandwidth: Bytes a second to or from it.

    Returns:
        The devices, and who compiles for them.

    Raises:
        ValueError: The hardware cannot be described, or does not come in such a form.
        OSError: Its compiler does not start.
    """
    sides = parse_layout(hardware, layout)
    if hardware in _GPUS:
        described = {"memory": int(memory), "bandwidth": int(bandwidth), "title": hardware.upper()}
        topology = topologies.get_topology_desc(
            hardware,
            platform="cuda",
            topology=f"1x{sides[0]}x{sides[1]}",
            target_config=_GPU.format(**described, **_GPUS[hardware]),
        )
        return Topology(topology.devices, f"XLA for CUDA {metadata.version('jax-cuda12-plugin')}")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    single = {"chips_per_host_bounds": (1, 1, 1)} if math.prod(sides) == 1 else {}
    name = f"{hardware.removeprefix('tpu-')}:{layout}"
    try:
        topology = topologies.get_topology_desc(name, platform="tpu", **single)
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("INVALID_ARGUMENT"):
            raise OSError(f"the compiler for TPUs does not start: {error}") from error
        raise ValueError(_refusal(hardware, layout)) from error
    return Topology(topology.devices, f"libtpu {metadata.version('libtpu')}")
