"""Score the samples of trained runs for each sampler and number of steps.

    python -m benchmarks.sampler_quality runs/digits_0 runs/digits_1 runs/digits_2

Prints the means over the runs, which are seeds of one configuration, and what samplers differ by
from the ancestral one, and draws a figure. Real examples and samples against shuffled conditions
are rows of their own.
"""

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.options import positive
from benchmarks.timing import describe_environment, format_markdown, write_json
from cdcd_jax.evaluation.metrics.metric import Metric
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.model_folder import load_untrained, load_weights, read_model
from cdcd_jax.tasks.evaluation import evaluate_generator

SAMPLERS: dict[str, dict[str, Any]] = {
    "ancestral": {},
    "ancestral, truncation 0.86": {"truncation": 0.86},
    "ancestral, visible kept": {"keep_visible": True},
    "ancestral, cosine times": {"times": "cosine"},
    "fast": {"sampler": "fast"},
    "first_hitting": {"sampler": "first_hitting", "ignore_uniform": True},
    "confidence": {"sampler": "confidence"},
    "margin": {"sampler": "margin"},
    "entropy": {"sampler": "entropy"},
    "halton": {"sampler": "halton"},
    "purity": {"sampler": "purity"},
    "remask": {"sampler": "remask"},
    "ancestral + gibbs": {"corrector": "gibbs"},
}
"""Options of sampling by the name of their row."""

SCORES = ("accuracy", "both_accuracy", "onset_f", "frechet_distance", "genre_frechet_distance")
"""Scores that a table shows where a task has them, before the diversity."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampler_quality",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs: seeds of a training")
    parser.add_argument("--steps", nargs="+", type=positive, default=[4, 8, 16, 32, 50])
    parser.add_argument("--samples", type=positive, default=500, help="for each setting")
    parser.add_argument("--only", nargs="+", choices=[*SAMPLERS], default=[*SAMPLERS])
    parser.add_argument("--json", type=Path, help="file for the scores")
    parser.add_argument("--figure", type=Path, help="PNG file for the figure")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for run in options.runs:
        rows += score_run(run, options)
    scores = [name for name in (*SCORES, "diversity") if name in rows[-1]]
    table = summarise(rows, scores)
    print(format_table(table, scores))
    if "ancestral" in options.only:
        print("\n" + compare(rows, scores))
    if options.json:
        write_json(str(options.json), {"environment": describe_environment(), "rows": rows})
    if options.figure:
        draw(table, scores, options.figure)


def score_run(run: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Score all settings of one run."""
    saved = read_model(run)
    config = saved.config
    config.unlock()
    config.eval.num_samples = options.samples
    experiment = build(config.lock(), run)
    generator = load_untrained(saved)
    generator = generator.with_params(load_weights(saved, generator).params)
    # The bound is not of the sampler.
    generator = dataclasses.replace(
        generator, bound_fn=lambda params, key, z0, cond: np.zeros(len(z0))
    )
    given = {**experiment.evaluation, **experiment.scoring.make_options()}
    steps = [count for count in options.steps if count <= generator.schedule.num_steps]
    given |= {"num_steps": steps, "truncations": (1.0,), "progress": False}
    given["more_metrics"] = (*given.get("more_metrics", ()), diversity_metric())
    conditioned, found = experiment.conditioned, []
    for name in options.only:
        setting = dict(SAMPLERS[name])
        given["truncations"] = (setting.pop("truncation", 1.0),)
        usual = {"sampler": "ancestral", "temperature": 1.0, "guidance": 1.0, "top_k": None}
        result = evaluate_generator(
            dataclasses.replace(generator, sampling={**generator.sampling, **usual, **setting}),
            train=conditioned.train,
            test=conditioned.test,
            requests=conditioned.requests,
            **given,
        )
        print(f"{run}: {name}", file=sys.stderr)
        for row in result["rows"]:
            of_sampler = row["name"] == "samples"
            if of_sampler or name == options.only[0]:
                label = name if of_sampler else row["name"]
                found.append({**row, "run": str(run), "sampler": label})
    return found


def diversity_metric() -> Metric:
    """Return how often two samples differ at a position, 0..1.

    Samples for the same condition, where there are several; else any two.
    """

    def extract(tokens: np.ndarray) -> np.ndarray:
        return np.asarray(tokens)

    def update(state: dict[Any, list], tokens: np.ndarray, labels: np.ndarray) -> dict[Any, list]:
        for label, row in zip(np.asarray(labels).tolist(), tokens, strict=True):
            state.setdefault(label, []).append(row)
        return state

    def merge(one: dict[Any, list], other: dict[Any, list]) -> dict[Any, list]:
        return {key: one.get(key, []) + other.get(key, []) for key in {*one, *other}}

    def result(state: dict[Any, list]) -> dict[str, float]:
        differing = []
        repeated = [rows for rows in state.values() if len(rows) > 1]
        for rows in repeated or [[row for found in state.values() for row in found]]:
            group = np.stack(rows)
            if len(group) > 1:
                # Of n(n-1)/2 pairs, those whose tokens are equal, position by position.
                same = [
                    float(np.sum(np.square(counts) - counts))
                    for column in group.T
                    for counts in [np.unique(column, return_counts=True)[1].astype(float)]
                ]
                pairs = len(group) * (len(group) - 1)
                differing.append(1.0 - float(np.mean(same)) / pairs)
        return {"diversity": float(np.mean(differing))} if differing else {}

    return Metric("tokens", extract, lambda share: {}, update, merge, result)


def summarise(rows: list[dict[str, Any]], scores: list[str]) -> list[dict[str, Any]]:
    """Take means over the runs, setting by setting."""
    groups: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["sampler"], row["num_steps"]), []).append(row)
    table = []
    for (sampler, steps), group in groups.items():
        entry: dict[str, Any] = {"sampler": sampler, "num_steps": steps}
        for score in scores:
            values = [row[score] for row in group if score in row]
            entry[score] = statistics.mean(values) if values else None
        table.append(entry)
    return table


def format_table(table: list[dict[str, Any]], scores: list[str]) -> str:
    """Format the means as Markdown: rows are samplers, columns are numbers of steps."""
    steps = sorted({entry["num_steps"] for entry in table if entry["num_steps"]})
    title = f"{' / '.join(score.replace('_', ' ') for score in scores)}, by number of steps"
    lines = []
    for name in dict.fromkeys(entry["sampler"] for entry in table):
        cells = {entry["num_steps"]: entry for entry in table if entry["sampler"] == name}
        if None in cells:  # no samples
            cells = dict.fromkeys(steps, cells[None])
        written = [_write(cells[count], scores) if count in cells else "-" for count in steps]
        lines.append([name, *written])
    return f"{title}\n\n{format_markdown(['sampler', *map(str, steps)], lines)}"


def _write(entry: dict[str, Any], scores: list[str]) -> str:
    """Write scores beside each other, accuracies in percent."""
    written = []
    for score in scores:
        value = entry[score]
        percent = "accuracy" in score
        written.append(
            "-" if value is None else f"{100 * value:.1f}" if percent else f"{value:.2f}"
        )
    return " / ".join(written)


def compare(rows: list[dict[str, Any]], scores: list[str]) -> str:
    """Format what each sampler differs by from the ancestral one at equal steps, as Markdown.

    Differences are taken run by run, so that what runs have in common cancels: their mean over the
    numbers of steps, then mean and standard deviation over the runs.
    """
    usual = {(row["run"], row["num_steps"]): row for row in rows if row["sampler"] == "ancestral"}
    title = "Difference from ancestral at equal steps, mean ± standard deviation over runs"
    lines = []
    for name in SAMPLERS:
        found = [row for row in rows if row["sampler"] == name]
        if name == "ancestral" or not found:
            continue
        cells = []
        for score in scores:
            by_run: dict[str, list[float]] = {}
            for row in found:
                other = usual[row["run"], row["num_steps"]]
                by_run.setdefault(row["run"], []).append(row[score] - other[score])
            means = [statistics.mean(values) for values in by_run.values()]
            error = statistics.stdev(means) if len(means) > 1 else 0.0
            percent, digits = (100, 1) if "accuracy" in score else (1, 3)
            mean = percent * statistics.mean(means)
            cells.append(f"{mean:+.{digits}f} ± {percent * error:.{digits}f}")
        lines.append([name, *cells])
    head = ["sampler", *(score.replace("_", " ") for score in scores)]
    return f"{title}\n\n{format_markdown(head, lines)}"


def draw(table: list[dict[str, Any]], scores: list[str], path: Path) -> None:
    """Draw each score against the number of steps, a line for each sampler."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (4.2 * len(scores) + 1.5, 3.6)
    figure, panels = plt.subplots(1, len(scores), figsize=size, layout="constrained", squeeze=False)
    names = list(dict.fromkeys(entry["sampler"] for entry in table if entry["num_steps"]))
    names = [name for name in names if not name.startswith("samples,")]
    steps = sorted({entry["num_steps"] for entry in table if entry["num_steps"]})
    for axes, score in zip(panels[0], scores, strict=True):
        for number, name in enumerate(names):
            points = [
                (entry["num_steps"], entry[score])
                for entry in table
                if entry["sampler"] == name and entry[score] is not None
            ]
            if points:
                # Colours repeat after ten.
                style = {"linestyle": "--" if number >= 10 else "-", "markersize": 3}
                axes.plot(*zip(*points, strict=True), marker="o", label=name, **style)
        real = [entry[score] for entry in table if not entry["num_steps"] and entry[score]]
        if real:
            axes.axhline(real[0], color="black", linewidth=0.8, linestyle=":", label="real")
        axes.set(xlabel="steps", ylabel=score.replace("_", " "), xscale="log")
        axes.set_xticks(steps, [str(count) for count in steps])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][-1].legend(frameon=False, fontsize=7, bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
