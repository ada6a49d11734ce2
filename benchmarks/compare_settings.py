"""Train several settings and seeds of a task at one budget and print what came of each.

``python -m benchmarks.compare_settings --steps 400 --seeds 3`` trains, one after another, each by
the command line a user has: vanilla, sample-inter and step-intra on the digits with every seed, and
the other settings once. ``--task glyphs --settings vanilla sample_inter --once`` compares two
settings on letters.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.timing import describe_environment, write_json
from cdcd_jax.evaluation.table import COLUMNS

SETTINGS = {
    "vanilla": [],
    "sample_inter": [],
    "sample_intra": [],
    "step_inter": ["--config.loss.chains=shared"],
    "step_intra": ["--config.loss.chains=shared"],
    "step_inter, parallel, N=2": [
        "--config.loss.chains=parallel",
        "--config.loss.num_negatives=2",
    ],
    "sample_inter, lambda=5e-4": ["--config.loss.contrast_weight=5e-4"],
    "sample_inter, lambda=2e-3": ["--config.loss.contrast_weight=2e-3"],
}
"""Name, which begins as that of the configuration ends, and its flags."""

NOT_SCORES = ("num_steps", "truncation", "num_samples", "seconds", "milliseconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="digits", help="the configs/TASK_SETTING.py to run")
    names = {"choices": list(SETTINGS), "metavar": "SETTING"}
    every = ["vanilla", "sample_inter", "step_intra"]
    once = ["step_inter", "sample_intra", "step_inter, parallel, N=2"]
    parser.add_argument("--settings", nargs="+", default=every, help="with every seed", **names)
    parser.add_argument("--once", nargs="*", default=once, help="with the first seed", **names)
    parser.add_argument("--steps", type=int, default=400, help="training steps of every run")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the main settings")
    parser.add_argument("--runs", type=Path, default=Path("runs/settings"), help="folder of runs")
    parser.add_argument("--json", help="where to write the summaries")
    options = parser.parse_args()
    summaries: dict[str, list[dict[str, Any]]] = {}
    for name in [*options.settings, *options.once]:
        for seed in range(options.seeds if name in options.settings else 1):
            summary = run(options.task, name, seed, options.steps, options.runs)
            summaries.setdefault(name, []).append(summary)
            print(f"{name}, seed {seed}: {summary['train_seconds']:.0f} s", file=sys.stderr)
    print(format_comparison(summaries, options.steps))
    if options.json:
        report = {"environment": describe_environment(), "steps": options.steps}
        write_json(options.json, report | {"summaries": summaries})


def run(task: str, name: str, seed: int, steps: int, runs: Path) -> dict[str, Any]:
    """Train and evaluate one setting with one seed, or read what an earlier run left."""
    workdir = runs / f"{task}_{name.replace(', ', '-')}-{steps}-seed{seed}"
    config = f"configs/{task}_{name.split(',')[0]}.py"
    if not (workdir / "summary.json").exists():
        command = [sys.executable, "-m", "cdcd_jax.main", f"--config={config}", *SETTINGS[name]]
        command += [f"--workdir={workdir}", f"--config.train.num_steps={steps}"]
        command += [f"--config.train.seed={seed}", f"--config.eval.seed={seed + 1}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((workdir / "summary.json").read_text())


def format_comparison(summaries: dict[str, list[dict[str, Any]]], steps: int) -> str:
    """Lay the summaries out, a row for each setting and way of sampling: mean ± deviation.

    Below, the bound and the first way of sampling seed by seed: the seeds of a setting start from
    the same weights and order of the data as those of the others.
    """
    rows = next(iter(summaries.values()))[0]["rows"]
    made = next(row for row in rows if row["num_steps"] is not None)
    scores = [key for key in COLUMNS if key not in NOT_SCORES and made.get(key) is not None]
    titles = "".join(f"{COLUMNS[key][0]:>16}" for key in scores)
    lines = [
        f"{steps} training steps, {made['num_samples']} samples a seed; mean ± standard deviation "
        "over seeds",
        f"{'setting':<27}{'seeds':>6}{'bits/token':>18}{'steps':>7}{'truncation':>12}{titles}"
        f"{'train s':>9}",
    ]
    for row in rows:
        if row["num_steps"] is None:
            real = "".join(f"{_spread([row.get(key)], key):>16}" for key in scores)
            lines.append(f"{row['name']:<27}{'-':>6}{'-':>18}{'-':>7}{'-':>12}{real}{'-':>9}")
    for name, runs in summaries.items():
        bits = spread([run["bits_per_token"] for run in runs], ".4f")
        seconds = statistics.mean(run["train_seconds"] for run in runs)
        for index, row in enumerate(runs[0]["rows"]):
            if row["num_steps"] is None:
                continue
            title = name if row["name"] == "samples" else "  labels shuffled"
            same = [run["rows"][index] for run in runs]
            cells = (_spread([one[key] for one in same], key) for key in scores)
            lines.append(
                f"{title:<27}{len(runs):>6}{bits:>18}{row['num_steps']:>7}{row['truncation']:>12.2f}"
                + "".join(f"{cell:>16}" for cell in cells)
                + f"{seconds:>9.0f}"
            )
    lines.append(f"seed by seed, {made['num_steps']} steps, truncation {made['truncation']:.2f}")
    for name, runs in summaries.items():
        for seed, run in enumerate(runs):
            row = run["rows"][rows.index(made)]
            cells = "".join(f"{_spread([row[key]], key):>16}" for key in scores)
            lines.append(f"{name:<27}{seed:>6}{run['bits_per_token']:>18.4f}{'':>19}{cells}")
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    """Write a mean, and the standard deviation where there are several values."""
    mean = format(statistics.mean(values), form)
    if len(values) == 1:
        return mean
    return f"{mean.rstrip('%')} ± {format(statistics.stdev(values), form)}"


def _spread(values: list[Any], key: str) -> str:
    return "-" if None in values else spread(values, COLUMNS[key][2])


if __name__ == "__main__":
    main()
