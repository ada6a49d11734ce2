"""Train several settings and seeds at one budget and print what came of each.

``python -m benchmarks.compare_settings --steps 400 --seeds 3`` trains, one after another, each by
the command line a user has: vanilla, sample-inter and step-intra with every seed, and the other
settings once.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.timing import describe_environment, write_json

EVERY_SEED = {
    "vanilla": [],
    "sample_inter": [],
    "step_intra": ["--config.loss.chains=shared"],
}
ONCE = {
    "step_inter": ["--config.loss.chains=shared"],
    "sample_intra": [],
    "step_inter, parallel, N=2": [
        "--config.loss.chains=parallel",
        "--config.loss.num_negatives=2",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="training steps of every run")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the main settings")
    parser.add_argument("--runs", type=Path, default=Path("runs/settings"), help="folder of runs")
    parser.add_argument("--json", help="where to write the summaries")
    options = parser.parse_args()
    summaries: dict[str, list[dict[str, Any]]] = {}
    for name, flags in (EVERY_SEED | ONCE).items():
        for seed in range(options.seeds if name in EVERY_SEED else 1):
            summary = run(name, flags, seed, options.steps, options.runs)
            summaries.setdefault(name, []).append(summary)
            print(f"{name}, seed {seed}: {summary['train_seconds']:.0f} s", file=sys.stderr)
    print(format_comparison(summaries, options.steps))
    if options.json:
        report = {"environment": describe_environment(), "steps": options.steps}
        write_json(options.json, report | {"summaries": summaries})


def run(name: str, flags: list[str], seed: int, steps: int, runs: Path) -> dict[str, Any]:
    """Train and evaluate one setting with one seed, or read what an earlier run left."""
    workdir = runs / f"{name.replace(', ', '-')}-{steps}-seed{seed}"
    config = f"configs/digits_{name.split(',')[0]}.py"
    if not (workdir / "summary.json").exists():
        command = [sys.executable, "-m", "cdcd_jax.main", f"--config={config}", *flags]
        command += [f"--workdir={workdir}", f"--config.train.num_steps={steps}"]
        command += [f"--config.train.seed={seed}", f"--config.eval.seed={seed + 1}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((workdir / "summary.json").read_text())


def format_comparison(summaries: dict[str, list[dict[str, Any]]], steps: int) -> str:
    """Lay the summaries out, a row for each setting and way of sampling: mean ± deviation."""
    first = next(iter(summaries.values()))[0]
    lines = [
        f"{steps} training steps, {first['rows'][1]['num_samples']} samples a seed; mean ± "
        "standard deviation over seeds",
        f"{'setting':<27}{'seeds':>6}{'bits/token':>18}{'steps':>7}{'truncation':>12}"
        f"{'accuracy, %':>15}{'Frechet':>14}{'train s':>9}",
    ]
    truth = first["rows"][0]
    lines.append(
        f"{truth['name']:<27}{'-':>6}{'-':>18}{'-':>7}{'-':>12}{100 * truth['accuracy']:>15.1f}"
        f"{truth['frechet_distance']:>14.2f}{'-':>9}"
    )
    for name, runs in summaries.items():
        bits = spread([run["bits_per_token"] for run in runs], 4)
        seconds = statistics.mean(run["train_seconds"] for run in runs)
        for index, row in enumerate(runs[0]["rows"][1:], start=1):
            same = [run["rows"][index] for run in runs]
            accuracy = spread([100 * one["accuracy"] for one in same], 1)
            frechet = spread([one["frechet_distance"] for one in same], 2)
            title = name if row["name"] == "samples" else "  labels shuffled"
            lines.append(
                f"{title:<27}{len(runs):>6}{bits:>18}{row['num_steps']:>7}"
                f"{row['truncation']:>12.2f}{accuracy:>15}{frechet:>14}{seconds:>9.0f}"
            )
    return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
    """Write a mean, and the standard deviation where there are several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
