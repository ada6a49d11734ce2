"""Evaluation of parameters: the table of scores and its files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdcd_jax.cli.drawing import number
from cdcd_jax.cli.exporting import exporting
from cdcd_jax.evaluation.metrics.metric import EvaluationError
from cdcd_jax.evaluation.table import explain_bits, format_table
from cdcd_jax.experiment.experiment import Experiment
from cdcd_jax.io import atomic_write, is_first_host
from cdcd_jax.tasks.evaluation import evaluate_generator
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.typing import Params

VARIED = ("num_samples", "num_steps", "truncation")
"""Options of sampling that an evaluation has of its own."""

SPEED = ("num_threads", "prefetch")
"""Keys of the section ``data`` that change no score."""


def score(
    experiment: Experiment,
    params: Params,
    folder: Path,
    about: dict[str, Any],
    *,
    export: Path | None = None,
) -> None:
    """Evaluate parameters, print the table and write ``summary.json`` and ``samples.png``.

    Args:
        experiment: What the parameters are of.
        params: Averaged weights of the model.
        folder: Where the two files go.
        about: What the summary says of the parameters, before the scores.
        export: Where the main setting's samples are written, if anywhere.

    Raises:
        EvaluationError: If what scores the samples cannot be made, or a sample cannot be scored.
    """
    options = dict(experiment.evaluation)
    try:
        options |= experiment.scoring.make_options()
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    generator, conditioned = experiment.generator(params), experiment.conditioned
    with exporting(generator, export, options["num_samples"]) as on_samples:
        result = evaluate_generator(
            generator,
            train=conditioned.train,
            test=conditioned.test,
            requests=conditioned.requests,
            on_samples=on_samples,
            **options,
        )
    grid = experiment.task.show(
        generator,
        experiment.places,
        folder / "samples.png",
        experiment.seed,
        **experiment.sampling,
    )
    notes = [
        *explain_bits(
            result["bits_per_token"],
            vocab_size=experiment.schedule.vocab_size,
            num_steps=experiment.schedule.num_steps,
        ),
        *experiment.scoring.unmeasured,
    ]
    summary = {**about, **result, "notes": notes, "sample_grid": str(grid)}
    write_summary(folder, {**summary, "config": experiment.config})
    print(format_table(result))
    for sentence in notes:
        print(sentence)
    if "steps" in about:
        print(f"Trained {about['steps']} steps in {about['train_seconds']:.0f} s")
    print(f"{'Summary:':<13}{folder}/summary.json")
    print(f"{'Samples:':<13}{folder}/{grid.name}")
    if export is not None:
        print(f"{'Export:':<13}{export}")


def find_folder(experiment: Experiment, workdir: Path, subject: str) -> Path:
    """Name the folder of an evaluation, see ``evaluation_folder``."""
    return evaluation_folder(
        workdir,
        subject,
        evaluation=experiment.evaluation,
        sampling=experiment.sampling,
        config=experiment.config,
    )


def evaluation_folder(
    workdir: Path,
    subject: str,
    *,
    evaluation: Mapping[str, Any],
    sampling: Mapping[str, Any],
    config: Mapping[str, Any],
) -> Path:
    """Name the folder of an evaluation after what is evaluated and how.

    The name ends in a digest of the sections ``data``, ``eval`` and ``sample``, so that another
    request never overwrites this one, and the same request does.

    Args:
        workdir: Folder of the run.
        subject: What the parameters are called.
        evaluation: As in ``Experiment``, like the next two.
        sampling: Options of sampling.
        config: The whole configuration.

    Returns:
        A folder below ``<workdir>/evaluations``.
    """
    fixed = {name: value for name, value in sampling.items() if name not in VARIED}
    name = name_evaluation(**evaluation, **fixed)
    request = {section: config[section] for section in ("data", "eval", "sample")}
    request["data"] = {k: v for k, v in request["data"].items() if k not in SPEED}
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:6]
    return workdir / "evaluations" / f"{subject}-{name}-{digest}"


def name_evaluation(
    *,
    seed: int,
    num_samples: int,
    num_steps: Sequence[int],
    truncations: Sequence[float],
    top_k: int | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    **other: Any,
) -> str:
    """Return a folder name that says how samples were scored.

    >>> name_evaluation(seed=1, num_samples=500, num_steps=(50, 10), truncations=(0.86,),
    ...                 guidance=2.0, batch_size=100)
    'seed1-num_samples500-num_steps50_10-truncations0.86-guidance2'
    """
    lists = {
        name: "_".join(number(value) for value in values)
        for name, values in {"num_steps": num_steps, "truncations": truncations}.items()
    }
    numbers = {"top_k": top_k} | {
        name: None if value == 1.0 else value
        for name, value in {"temperature": temperature, "guidance": guidance}.items()
    }
    sampled = [f"{name}{number(value)}" for name, value in numbers.items() if value is not None]
    drawn = [f"{name}{values}" for name, values in lists.items()]
    return "-".join([f"seed{seed}", f"num_samples{num_samples}", *drawn, *sampled])


def write_summary(workdir: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json`` atomically, on the first of many hosts."""
    if not is_first_host():
        return
    with writing(workdir), atomic_write(workdir / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
