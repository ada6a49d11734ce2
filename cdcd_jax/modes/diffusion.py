"""Train, evaluate and sample an experiment on diffusion."""

import json
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.evaluation.run import evaluate
from cdcd_jax.evaluation.table import format_table
from cdcd_jax.modes.drawing import describe, draw, draw_trajectory
from cdcd_jax.training.checkpoints import Position, writing
from cdcd_jax.training.run import load_training, run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper


def train_and_evaluate(
    experiment: Experiment, workdir: Path, stopper: Stopper, config_file: str
) -> None:
    """Train to the last step, drawing samples on the way, and score the result."""

    def draw_progress(state: TrainState) -> None:
        path = workdir / "samples" / f"step{int(state.step):06d}.png"
        draw(experiment, state.ema_params, path, experiment.seed, **experiment.sampling)

    found = run_training(experiment.training, workdir, stopper, hook=draw_progress)
    _score(experiment, workdir, config_file, *found)


def evaluate_newest(experiment: Experiment, workdir: Path, config_file: str) -> None:
    """Score the newest checkpoint."""
    _score(experiment, workdir, config_file, *load_training(experiment.training, workdir))


def sample_newest(
    experiment: Experiment, workdir: Path, *, seed: int, trajectory: bool, **sampling: Any
) -> None:
    """Draw samples of the newest checkpoint into ``<workdir>/samples``."""
    state, _ = load_training(experiment.training, workdir)
    path = workdir / "samples" / f"{describe(seed, **sampling)}.png"
    print(f"Samples: {draw(experiment, state.ema_params, path, seed, **sampling)}")
    if trajectory:
        path = path.with_stem(f"{path.stem}-trajectory")
        draw_trajectory(experiment, state.ema_params, path, seed, **sampling)
        print(f"Trajectory: {path}")


def _score(
    experiment: Experiment, workdir: Path, config_file: str, state: TrainState, position: Position
) -> None:
    params, options = state.ema_params, dict(experiment.evaluation)
    # What samples are drawn with, but for what the evaluation varies.
    fixed = {name: experiment.sampling[name] for name in ("top_k", "temperature")}
    result = evaluate(
        jax.random.key(options.pop("seed")),
        bound_fn=lambda key, z0, cond: experiment.bound_fn(params, key, z0, cond),
        sample_fn=lambda key, labels, num_steps, truncation: experiment.sample_fn(
            params, key, labels, num_steps=num_steps, truncation=truncation, **fixed
        ),
        train=experiment.data.train,
        test=experiment.data.test,
        **experiment.scoring.make_options(),
        **options,
    )
    grid = draw(experiment, params, workdir / "samples.png", experiment.seed, **experiment.sampling)
    summary = {
        "config_file": config_file,
        "steps": int(state.step),
        "train_seconds": position.train_seconds,
        **result,
        "sample_grid": str(grid),
        "config": experiment.config,
    }
    write_summary(workdir, summary)
    print(format_table(result))
    for sentence in experiment.scoring.unmeasured:
        print(sentence)
    print(f"Trained {summary['steps']} steps in {position.train_seconds:.0f} s")
    for name, place in {
        "Summary": "summary.json",
        "Samples": grid.name,
        "Metrics": "metrics.jsonl, tensorboard",
        "Checkpoints": "checkpoints",
    }.items():
        print(f"{name + ':':<13}{workdir}/{place}")


def write_summary(workdir: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json`` whole or not at all."""
    with writing(workdir):
        part = workdir / "summary.json.part"
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        part.replace(workdir / "summary.json")
