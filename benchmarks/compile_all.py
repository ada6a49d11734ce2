"""Compile training steps for accelerators that are not there, by their own compilers.

    python -m benchmarks.compile_all --targets tpu-v5e=4x4 h200=1x8 --json FILE

A large step takes minutes. A row that FILE has already is not compiled again.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.timing import describe_environment, write_json
from cdcd_jax.cli.plan import fitting_batch_size
from cdcd_jax.experiment.plan import build_plan
from cdcd_jax.planning.hardware import find_hardware
from cdcd_jax.planning.mesh_plan import plan_mesh
from cdcd_jax.planning.topology import describe_topology, missing_compiler
from cdcd_jax.settings.config_file import load_config

CONFIGS = [
    f"{name}_sample_inter" for name in ("aist", "tiktok", "coco", "cub200", "imagenet")
]  # of the paper's size
TARGETS = ["tpu-v5e=4x4", "tpu-v5p=4x4x4", "tpu-v6e=8x8", "h100=1x8", "h200=8x8"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_all",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--configs", nargs="+", default=CONFIGS, help="files of configs/")
    parser.add_argument("--targets", nargs="+", default=TARGETS, help="hardware=topology")
    parser.add_argument("--fsdp", type=int, default=1, help="mesh.fsdp")
    parser.add_argument("--tensor", type=int, default=1, help="mesh.tensor")
    parser.add_argument("--per-chip", type=int, help="examples on each; as configured by default")
    parser.add_argument("--dtype", default="bfloat16", help="denoiser.compute_dtype")
    parser.add_argument("--json", type=Path, help="file for the rows, which is read first")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    for name in options.configs:
        for target in options.targets:
            asked = {
                "config": name,
                "target": target,
                "fsdp": options.fsdp,
                "tensor": options.tensor,
                "per_chip": options.per_chip,
                "dtype": options.dtype,
            }
            if not any(asked.items() <= row.items() for row in rows):
                rows.append(asked | compile_one(asked))
                if options.json:
                    report = {"environment": describe_environment(), "rows": rows}
                    write_json(str(options.json), report)
    print(format_rows(rows))


def compile_one(asked: dict[str, Any]) -> dict[str, Any]:
    """Compile one step and read its program; what fails is said in ``error``."""
    kind, layout = asked["target"].split("=")
    config: Any = load_config(f"configs/{asked['config']}.py")
    with config.unlocked():
        config.mesh.update(data=None, fsdp=asked["fsdp"], tensor=asked["tensor"])
        config.denoiser.compute_dtype = asked["dtype"]
    hardware = find_hardware(kind)
    if missing := missing_compiler(kind):
        sys.exit(f"Error: {missing}")
    topology = describe_topology(kind, layout, hardware.memory, hardware.bandwidth)
    run = build_plan(config)
    started = time.perf_counter()
    print(f"{asked['config']} for {asked['target']} ...", file=sys.stderr, flush=True)
    try:
        mesh, shardings = run.arrange(topology.devices)
        size = fitting_batch_size(run, mesh.size)
        if asked["per_chip"]:
            size = asked["per_chip"] * mesh.size // asked["tensor"]
        plan = plan_mesh(
            run.planned, mesh, shardings, hardware, batch_size=size, compiler=topology.compiler
        )
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        return {"error": str(error).split("\n")[0][:200]}
    model = run.planned.cost(size, saving=False).flops / mesh.size
    computed, padded = plan.computed or (math.nan, math.nan)
    return {
        "compiler": plan.compiler,
        "seconds": round(time.perf_counter() - started),
        "batch_size": size,
        "bytes": plan.memory._asdict() | {"total": plan.memory.total},
        "fits": plan.memory.total <= hardware.memory,
        "model_flops": model,
        "computed_over_model": computed / model,
        "padded_over_model": padded / model,
        "collectives": {kind: sent for kind, (_, sent) in plan.collected().items()},
        "kernels": dict(plan.kernels),
    }


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Format the rows as Markdown; bytes are of a chip."""
    lines = [
        "| configuration | target | mesh | batch | GB of state | GB in all | computed, padded "
        "/ model FLOPs | MB sent | kernels |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        mesh = f"fsdp {row['fsdp']}, tensor {row['tensor']}"
        cells = [row["config"], row["target"].replace("=", " "), mesh]
        if "error" in row:
            lines.append(f"| {' | '.join(cells)} | {row['error']} | | | | | |")
            continue
        held = row["bytes"]
        allocated = held["gradients"] + held["temporaries"]
        cells += [
            str(row["batch_size"]),
            f"{(held['total'] - allocated) / 1e9:.2f}",
            f"{held['total'] / 1e9:.2f}" + ("" if row["fits"] else ", too much"),
            f"{row['computed_over_model']:.2f}, {row['padded_over_model']:.2f}",
            ", ".join(f"{kind} {sent / 1e6:.0f}" for kind, sent in row["collectives"].items()),
            ", ".join(f"{name} {count}" for name, count in row["kernels"].items()) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
