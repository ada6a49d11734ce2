"""Train, evaluate and sample an experiment on diffusion."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.evaluation.run import evaluate
from cdcd_jax.evaluation.table import format_table
from cdcd_jax.files import is_first_host, whole_file
from cdcd_jax.modes.dances import DanceRequest, find_player
from cdcd_jax.modes.drawing import describe, draw, draw_trajectory
from cdcd_jax.modes.performance import name_music, perform
from cdcd_jax.training.checkpoint_folder import writing
from cdcd_jax.training.checkpoints import Position
from cdcd_jax.training.profiling import Profile
from cdcd_jax.training.run import load_training, run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper


def train_and_evaluate(
    experiment: Experiment,
    workdir: Path,
    stopper: Stopper,
    config_file: str,
    *,
    profile: Profile | None = None,
) -> None:
    """Train to the last step, drawing samples on the way, and score the result."""

    def draw_progress(state: TrainState) -> None:
        path = workdir / "samples" / f"step{int(state.step):06d}.png"
        draw(experiment, state.ema_params, path, experiment.seed, **experiment.sampling)

    found = run_training(experiment.training, workdir, stopper, hook=draw_progress, profile=profile)
    _score(experiment, workdir, config_file, *found)


def evaluate_newest(experiment: Experiment, workdir: Path, config_file: str) -> None:
    """Score the newest checkpoint."""
    _score(experiment, workdir, config_file, *load_training(experiment.training, workdir))


def sample_newest(
    experiment: Experiment,
    workdir: Path,
    *,
    seed: int,
    prompts: Sequence[str] = (),
    trajectory: bool = False,
    gif: bool = False,
    **sampling: Any,
) -> None:
    """Draw samples of the newest checkpoint into ``<workdir>/samples``.

    Args:
        experiment: What was trained.
        workdir: Folder of the run.
        seed: Seed of the samples.
        prompts: Texts to draw; each of their samples becomes a file of its own, too.
        trajectory: Whether to draw how the samples come about, as a strip.
        gif: Whether to draw it as an animation.
        **sampling: Of ``draw``.
    """
    state, _ = load_training(experiment.training, workdir)
    params, sampling = state.ema_params, sampling | {"prompts": prompts}
    path = workdir / "samples" / f"{describe(seed, **sampling)}.png"
    drawn = draw(experiment, params, path, seed, one_by_one=bool(prompts), **sampling)
    print(f"Samples: {drawn}")
    if prompts:
        print(f"One by one: {path.with_suffix('')}")
    for wanted, suffix in ((trajectory, ".png"), (gif, ".gif")):
        if wanted:
            strip = path.with_name(f"{path.stem}-trajectory{suffix}")
            draw_trajectory(experiment, params, strip, seed, animate=suffix == ".gif", **sampling)
            print(f"Trajectory: {strip}")


def perform_newest(
    experiment: Experiment,
    workdir: Path,
    request: DanceRequest,
    *,
    seed: int,
    num_samples: int,
    label: int | None = None,
    **options: Any,
) -> None:
    """Make music for a dance by the newest checkpoint.

    Args:
        experiment: What was trained, on music.
        workdir: Folder of the run.
        request: What is asked for.
        seed: Seed of the music.
        num_samples: Number of takes.
        label: Must be None.
        **options: Of ``experiment.sample_fn``.
    """
    state, _ = load_training(experiment.training, workdir)
    sampling = {"num_samples": num_samples, **options}
    path = request.audio_out or workdir / "samples" / name_music(request, seed, **sampling)
    player = find_player(experiment)
    for file in perform(player, state.ema_params, request, path, seed, **sampling):
        print(f"Music: {file}")


def _score(
    experiment: Experiment, workdir: Path, config_file: str, state: TrainState, position: Position
) -> None:
    params, options = state.ema_params, dict(experiment.evaluation)
    # What samples are drawn with, but for what the evaluation varies.
    fixed = {name: experiment.sampling[name] for name in ("top_k", "temperature", "guidance")}
    embed = experiment.told.embed
    result = evaluate(
        jax.random.key(options.pop("seed")),
        bound_fn=lambda key, z0, cond: experiment.bound_fn(params, key, z0, embed(cond)),
        sample_fn=lambda key, cond, num_steps, truncation: experiment.sample_fn(
            params, key, embed(cond), num_steps=num_steps, truncation=truncation, **fixed
        ),
        train=experiment.told.train,
        test=experiment.told.test,
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
    """Write ``summary.json`` whole or not at all; of many hosts, the first does."""
    if not is_first_host():
        return
    with writing(workdir), whole_file(workdir / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
