"""Compile a training step with and without flags of XLA, and show what each of them changes.

    python -m benchmarks.compiler_flags --target tpu-v5e=4x4 --fsdp 16
    python -m benchmarks.compiler_flags --target h200=1x8 --fsdp 8

A flag that leaves the program as it is belongs in no script of launch/.
"""

import argparse
import re
import sys
from typing import Any, NamedTuple

import jax

from benchmarks.timing import describe_environment, format_markdown, write_json
from cdcd_jax.experiment.plan import build_plan
from cdcd_jax.planning.compiled import KINDS
from cdcd_jax.planning.hardware import find_hardware
from cdcd_jax.planning.program import Program
from cdcd_jax.planning.topology import describe_topology, missing_compiler
from cdcd_jax.settings.config_file import load_config

TPU = (
    "xla_tpu_enable_latency_hiding_scheduler=false",
    "xla_tpu_enable_latency_hiding_scheduler=true",
    "xla_enable_async_all_gather=true",
    "xla_tpu_enable_async_collective_fusion=true,"
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather=true,"
    "xla_tpu_enable_async_collective_fusion_multiple_steps=true",
    "xla_enable_async_reduce_scatter_fusion=true,"
    "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter=true",
    "xla_tpu_overlap_compute_collective_tc=true",
    "xla_enable_async_all_reduce=true,xla_tpu_enable_async_collective_fusion_fuse_all_reduce=true",
    "xla_tpu_enable_data_parallel_all_reduce_opt=true,"
    "xla_tpu_data_parallel_opt_different_sized_ops=true",
)
GPU = (
    "xla_gpu_enable_latency_hiding_scheduler=false",
    "xla_gpu_enable_latency_hiding_scheduler=true",
    "xla_gpu_enable_pipelined_all_gather=true,xla_gpu_enable_pipelined_reduce_scatter=true",
    "xla_gpu_enable_while_loop_double_buffering=true",
    "xla_gpu_all_reduce_combine_threshold_bytes=268435456,"
    "xla_gpu_all_gather_combine_threshold_bytes=268435456,"
    "xla_gpu_reduce_scatter_combine_threshold_bytes=268435456",
)
"""What others start their runs with, and the scheduler off, to compare with."""

_COMPUTING = ("fusion", "dot", "convolution", "custom-call", "while")


class Collectives(NamedTuple):
    """How the collectives of a program are scheduled, loops included.

    Attributes:
        waiting: Those that everything waits for.
        pairs: Those with a start and a done.
        hidden: Pairs with computation between the two.
    """

    waiting: int
    pairs: int
    hidden: int


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiler_flags",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--target", default="tpu-v5e=4x4", help="hardware=topology")
    parser.add_argument("--fsdp", type=int, default=1, help="mesh.fsdp")
    parser.add_argument("--flags", nargs="+", help="name=value,name=value; those of the table")
    parser.add_argument("--json", help="file for the rows")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    lowered = lower_step(options.target, options.fsdp)
    flags = options.flags or (TPU if options.target.startswith("tpu") else GPU)
    rows: list[dict[str, Any]] = []
    plain = ""
    for names in ("", *flags):
        print(names or "compiling as it is", file=sys.stderr, flush=True)
        compiled = lowered.compile(compiler_options=read_flags(names))
        text = strip_names(compiled.as_text() or "")
        plain = plain or text
        found = schedule_of(Program(text))
        sizes: Any = compiled.memory_analysis()
        memory = sizes.temp_size_in_bytes
        rows.append({"flags": names, "same": text == plain, "bytes": memory, **found._asdict()})
    print(format_rows(rows))
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


def lower_step(target: str, fsdp: int) -> jax.stages.Lowered:
    """Lower a step of four blocks of 512 and 8 examples a device, all that training does."""
    kind, layout = target.split("=")
    if missing := missing_compiler(kind):
        sys.exit(f"Error: {missing}")
    config: Any = load_config("configs/digits_sample_inter.py:smoke")
    with config.unlocked():
        config.mesh.update(data=None, fsdp=fsdp)
        config.denoiser.update(num_layers=4, width=512, num_heads=8, compute_dtype="bfloat16")
    hardware = find_hardware(kind)
    topology = describe_topology(kind, layout, hardware.memory, hardware.bandwidth)
    run = build_plan(config)
    mesh, shardings = run.arrange(topology.devices)
    return run.planned.lower(mesh, shardings, 8 * mesh.size)[0]


def read_flags(names: str) -> dict[str, Any]:
    """Read flags as options of a compilation.

    >>> read_flags("a=true,b=3")
    {'a': True, 'b': 3}
    """
    known = {"true": True, "false": False}
    pairs = (each.split("=", 1) for each in names.split(",") if each)
    return {
        name: known[value] if value in known else int(value) if value.isdigit() else value
        for name, value in pairs
    }


def strip_names(text: str) -> str:
    """Remove what does not compute: the first line, with the module's options, and metadata."""
    return re.sub(r"metadata=\{[^}]*\}", "", text.partition("\n")[2])


def schedule_of(program: Program) -> Collectives:
    """Count collectives by whether they wait; a computation lists what it does in its order.

    >>> schedule_of(Program('''ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %a = f32[4]{0} all-reduce-start(%x), replica_groups={}
    ...   %b = f32[4]{0} fusion(%x), kind=kLoop
    ...   %c = f32[4]{0} all-reduce-done(%a)
    ...   %d = f32[4]{0} all-reduce(%c), replica_groups={}
    ... }'''))
    Collectives(waiting=1, pairs=1, hidden=1)
    """
    waiting = pairs = hidden = 0
    for name, lines in program.computations.items():
        times, order = program.runs.get(name, 0), list(lines)
        for place, each in enumerate(lines.values()):
            kind = each.opcode.removesuffix("-done")
            if kind not in KINDS:
                continue
            if kind == each.opcode:
                waiting += times
                continue
            start = order.index(each.operands[0])
            between = (lines[order[i]].opcode for i in range(start + 1, place))
            pairs += times
            hidden += times * any(opcode in _COMPUTING for opcode in between)
    return Collectives(waiting, pairs, hidden)


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Format the rows as Markdown."""
    head = ["flags", "program", "waiting", "start and done", "computing between"]
    lines = []
    for row in rows:
        names = "<br>".join(f"`{name}`" for name in row["flags"].split(",") if name)
        cells = [names or "none", "the same" if row["same"] else "another"]
        cells += [str(row[name]) for name in Collectives._fields]
        lines.append([*cells, f"{row['bytes'] / 1e6:.1f}"])
    return format_markdown([*head, "MB of temporaries"], lines)


if __name__ == "__main__":
    main()
