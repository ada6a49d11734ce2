"""Measure an accelerator: what must agree, then steps and samplers at the papers' sizes.

    python -m benchmarks.accelerator --json FILE

Each part has a process of its own, so that its peak of memory is its own and one that fails ends no
other. FILE is written after each part. What no longer fits in --minutes is not measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.all import TINY
from benchmarks.timing import format_markdown, write_json

SMALL = f"{TINY} --cond-length 3 --cond-dim 8"
PRESETS = ("imagenet", "aist")
PARTS = {
    "correctness": "correctness --preset imagenet",
    **{
        f"{preset} {name}": f"train_step --preset {preset} --rounds 4 --only matmul {name}"
        for name in ("vanilla", "sampler", "step_shared", "sampler_truncated")
        for preset in PRESETS
    },
}
"""Benchmarks with their options, the most important first."""
COLUMNS = {
    "median_ms": "ms",
    "mfu": "MFU",
    "peak_in_use_mb": "peak MB",
    "examples_per_s": "examples/s",
    "music_seconds_per_s": "music s/s",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--small", action="store_true", help="sizes that take seconds")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", help="file for the measurements", required=True)
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        # Two parts compile the same step.
        environment = {"JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "compiled")} | os.environ
        for name in options.only:
            command = [*PARTS[name].split(), *(SMALL.split() if options.small else [])]
            path, started = Path(folder) / f"{len(parts)}.json", time.monotonic()
            parts[name] = measure(command, path, until - started, environment)
            parts[name]["seconds"] = round(time.monotonic() - started, 1)
            write_json(options.json, {"minutes": options.minutes, "parts": parts})
    print(format_parts(parts))
    if failed := [name for name, part in parts.items() if "error" in part]:
        sys.exit(f"Error: {', '.join(failed)}: no result; see {options.json}")


def measure(
    command: list[str], path: Path, seconds: float, environment: dict[str, str]
) -> dict[str, Any]:
    """Run one benchmark and return what it wrote; what went wrong is in ``error``."""
    print("+ python -m", " ".join(["benchmarks." + command[0], *command[1:]]), flush=True)
    if seconds <= 0:
        return {"error": "no time was left"}
    program = [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:], "--json", str(path)]
    try:
        done = subprocess.run(
            program,
            check=False,
            timeout=seconds,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return {"error": "no time was left"}
    part = json.loads(path.read_text()) if path.exists() else {}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        part["error"] = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
    return part


def format_parts(parts: dict[str, Any]) -> str:
    """Format as Markdown what was measured, and name what was not."""
    lines = [
        f"- {row['name']}: losses differ by {row['loss']:.1e} at most, norms of gradients by "
        f"{row['grad_norm']:.1e}, kernels {row['kernels'] or 'none'}"
        for row in parts.get("correctness", {}).get("rows", [])
    ]
    table = []
    for name in PARTS:
        if name != "correctness":
            rows = parts.get(name, {}).get("rows", [])
            row = next((row for row in rows if row["name"] == name.split()[1]), {})
            found = [row.get(key, "not measured") for key in COLUMNS]
            cells = [cell if isinstance(cell, str) else f"{cell:.3g}" for cell in found]
            table.append([name, *cells])
    return "\n".join([*lines, "", format_markdown(["part", *COLUMNS.values()], table)]).strip()


if __name__ == "__main__":
    main()
