"""Compile steps and samplers for accelerators that are not there, by their own compilers.

    python -m benchmarks.compile_all --targets tpu-v5e=4x4 h200=1x8 --what train sample --json FILE
    python -m benchmarks.compile_all --targets tpu-v5e=4x4 --json NEW --against FILE
    python -m benchmarks.compile_all --targets tpu-v5e=4x4 --json FILE --cpus

A large step takes minutes. A row that FILE has already is not compiled again.
"""

import argparse
import itertools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.timing import describe_environment, format_markdown, write_json
from cdcd_jax.cli.plan import fitting_batch_size, simulate_devices
from cdcd_jax.experiment.plan import PROGRAMS, build_plan
from cdcd_jax.planning.hardware import Hardware, find_hardware
from cdcd_jax.planning.mesh_plan import MeshPlan, plan_mesh
from cdcd_jax.planning.topology import describe_topology, missing_compiler, parse_layout
from cdcd_jax.settings.config_file import load_config

CONFIGS = [
    f"{name}_sample_inter" for name in ("aist", "tiktok", "coco", "cub200", "imagenet")
]  # of the paper's size
TARGETS = ["tpu-v5e=4x4", "tpu-v5p=4x4x4", "tpu-v6e=8x8", "h100=1x8", "h200=8x8"]
REQUEST = ("config", "what", "target", "fsdp", "tensor", "per_chip", "dtype")
"""Keys of a row that say what was compiled."""
TOLERANCE = 0.03
"""How much more than before is no regression: compilers of other versions differ a little."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_all",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--configs", nargs="+", default=CONFIGS, help="files of configs/")
    parser.add_argument("--what", nargs="+", choices=PROGRAMS, default=["train"], help="programs")
    parser.add_argument("--targets", nargs="+", default=TARGETS, help="hardware=topology")
    parser.add_argument("--fsdp", type=int, default=1, help="mesh.fsdp")
    parser.add_argument("--tensor", type=int, default=1, help="mesh.tensor")
    parser.add_argument("--per-chip", type=int, help="examples on each; as configured by default")
    parser.add_argument("--dtype", default="bfloat16", help="denoiser.compute_dtype")
    parser.add_argument("--json", type=Path, help="file for the rows, which is read first")
    parser.add_argument("--against", type=Path, help="file of rows that these must not exceed")
    parser.add_argument(
        "--cpus",
        dest="stand_in",
        action="store_true",
        help="compile for as many CPUs as well, and compare",
    )
    options = parser.parse_args()
    before = read_rows(options.against) if options.against else None
    simulate_devices(1)
    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = read_rows(options.json)
    wanted = []
    for name, what, target in itertools.product(options.configs, options.what, options.targets):
        asked = {
            "config": name,
            "what": what,
            "target": target,
            "fsdp": options.fsdp,
            "tensor": options.tensor,
            "per_chip": options.per_chip,
            "dtype": options.dtype,
        }
        row = find_row(asked, rows)
        if row is None:
            rows.append(row := asked | compile_one(asked))
        if options.stand_in and "error" not in row and "stand_in" not in row:
            row["stand_in"] = compile_stand_in(asked)
        wanted.append(row)
        if options.json:
            report = {"environment": describe_environment(), "rows": rows}
            write_json(str(options.json), report)
    print(format_rows(rows))
    if options.stand_in:
        print(format_stand_ins(rows))
    if before is not None and (worse := find_regressions(wanted, before)):
        sys.exit("\n".join(["Error: worse than before", *worse]))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file; earlier ones were all of training steps."""
    earlier = {"what": "train", "throughput": math.nan}
    return [earlier | row for row in json.loads(path.read_text())["rows"]]


def find_row(asked: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Find what was compiled for a request."""
    return next((row for row in rows if asked.items() <= row.items()), None)


def compile_one(asked: dict[str, Any]) -> dict[str, Any]:
    """Compile one program and read its text; what fails is said in ``error``."""
    started = time.perf_counter()
    try:
        plan, hardware = _plan(asked)
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        return {"error": str(error).split("\n")[0][:200]}
    model = plan.model_flops
    computed, padded = plan.computed or (math.nan, math.nan)
    return {
        "compiler": plan.compiler,
        "seconds": round(time.perf_counter() - started),
        "batch_size": plan.batch_size,
        "bytes": plan.memory._asdict() | {"total": plan.memory.total},
        "fits": plan.memory.total <= hardware.memory,
        "model_flops": model,
        "computed_over_model": computed / model,
        "padded_over_model": padded / model,
        "collectives": {kind: sent for kind, (_, sent) in plan.collected().items()},
        "kernels": dict(plan.kernels),
        "throughput": plan.throughput,
        "bound": plan.time.bound,
    }


def compile_stand_in(asked: dict[str, Any]) -> dict[str, int]:
    """Return the bytes of each device where CPUs stand in for it."""
    memory = _plan(asked, stand_in=True)[0].memory
    return memory._asdict() | {"total": memory.total}


def _plan(asked: dict[str, Any], *, stand_in: bool = False) -> tuple[MeshPlan, Hardware]:
    kind, layout = asked["target"].split("=")
    name, *variant = asked["config"].split(":")
    config: Any = load_config(":".join([f"configs/{name}.py", *variant]))
    with config.unlocked():
        config.mesh.update(data=None, fsdp=asked["fsdp"], tensor=asked["tensor"])
        config.denoiser.compute_dtype = asked["dtype"]
    hardware = find_hardware(kind)
    if stand_in:
        devices, compiler = jax.devices()[: math.prod(parse_layout(kind, layout))], None
    else:
        if missing := missing_compiler(kind):
            sys.exit(f"Error: {missing}")
        devices, compiler = describe_topology(kind, layout, hardware.memory, hardware.bandwidth)
    run = build_plan(config, asked["what"])
    makes = compiler or "CPUs that stand in"
    print(f"{asked['config']} for {asked['target']} by {makes} ...", file=sys.stderr, flush=True)
    mesh, shardings = run.arrange(devices)
    size = fitting_batch_size(run, mesh.size)
    if asked["per_chip"]:
        size = asked["per_chip"] * mesh.size // asked["tensor"]
    plan = plan_mesh(run.planned, mesh, shardings, hardware, batch_size=size, compiler=compiler)
    return plan, hardware


def find_regressions(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[str]:
    """Compare compiled steps with those of before.

    Args:
        rows: Of ``compile_one``, with what was requested.
        before: The same, to compare with.

    Returns:
        A sentence for each figure that grew by more than ``TOLERANCE``, for other kernels, and for
        a row that there is nothing to compare with.
    """
    found = []
    for row in rows:
        asked = {key: row[key] for key in REQUEST}
        name, old = ", ".join(f"{key} {asked[key]}" for key in REQUEST), find_row(asked, before)
        if old is None:
            found.append(f"{name}: there is no such row")
        elif "error" in row:
            found += [] if "error" in old else [f"{name}: {row['error']}"]
        elif "error" not in old:
            was = _figures(old)
            found += [
                f"{name}: {figure} {new:.6g}, before {was[figure]:.6g}"
                for figure, new in _figures(row).items()
                if new > (1 + TOLERANCE) * was[figure]
            ]
            if row["kernels"] != old["kernels"]:
                found.append(f"{name}: kernels {row['kernels']}, before {old['kernels']}")
    return found


def _figures(row: dict[str, Any]) -> dict[str, float]:
    return {
        "bytes of a chip": row["bytes"]["total"],
        "FLOPs with padding": row["padded_over_model"] * row["model_flops"],
        "bytes sent": sum(row["collectives"].values()),
    }


def format_stand_ins(rows: list[dict[str, Any]]) -> str:
    """Format the stand-in's error as Markdown, in all and without the state."""
    head = ["configuration", "target", "stand-in, GB", "compiler, GB", "ratio"]
    head += ["allocated: stand-in, GB", "compiler, GB", "ratio"]
    lines = []
    for row in rows:
        if "stand_in" in row:
            cells = [row["config"], row["target"].replace("=", " ")]
            for keys in (("total",), ("gradients", "temporaries")):
                one, other = (sum(row[by][key] for key in keys) for by in ("stand_in", "bytes"))
                cells += [f"{one / 1e9:.2f}", f"{other / 1e9:.2f}", f"{one / other:.2f}"]
            lines.append(cells)
    return format_markdown(head, lines)


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Format the rows as Markdown; bytes are of a chip."""
    head = ["configuration", "program", "target", "mesh", "batch", "GB of state", "GB in all"]
    head += ["computed, padded / model FLOPs", "MB sent", "examples/s, at least", "kernels"]
    lines = []
    for row in rows:
        mesh = f"fsdp {row['fsdp']}, tensor {row['tensor']}"
        cells = [row["config"], row["what"], row["target"].replace("=", " "), mesh]
        if "error" in row:
            lines.append([*cells, row["error"], *[""] * (len(head) - len(cells) - 1)])
            continue
        held = row["bytes"]
        allocated = held["gradients"] + held["temporaries"]
        cells += [
            str(row["batch_size"]),
            f"{(held['total'] - allocated) / 1e9:.2f}",
            f"{held['total'] / 1e9:.2f}" + ("" if row["fits"] else ", too much"),
            f"{row['computed_over_model']:.2f}, {row['padded_over_model']:.2f}",
            ", ".join(f"{kind} {sent / 1e6:.0f}" for kind, sent in row["collectives"].items()),
            f"{row['throughput']:,.0f}",
            ", ".join(f"{name} {count}" for name, count in row["kernels"].items()) or "none",
        ]
        lines.append(cells)
    return format_markdown(head, lines)


if __name__ == "__main__":
    main()
