"""Training, evaluation and sampling of a diffusion experiment."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cdcd_jax.cli.dances import DanceRequest
from cdcd_jax.cli.drawing import describe, draw_trajectory
from cdcd_jax.cli.evaluate import find_folder, score
from cdcd_jax.cli.exporting import export_samples
from cdcd_jax.cli.music_files import name_music, write_music
from cdcd_jax.experiment.experiment import Experiment
from cdcd_jax.generator import Generator
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.task import Task
from cdcd_jax.training.checkpoints.manager import RunProgress
from cdcd_jax.training.profiling import Profile
from cdcd_jax.training.run import load_training, run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper
from cdcd_jax.typing import Params


def train_and_evaluate(
    experiment: Experiment,
    workdir: Path,
    stopper: Stopper,
    config_file: str,
    *,
    on_start: Callable[[], object],
    profile: Profile | None = None,
) -> None:
    """Train to the last step, drawing samples on the way, and score the result."""

    def draw_progress(state: TrainState) -> None:
        path = workdir / "samples" / f"step{int(state.step):06d}.png"
        generator = experiment.generator(state.ema_params)
        experiment.task.show(
            generator, experiment.places, path, experiment.seed, **experiment.sampling
        )

    found = run_training(
        experiment.training,
        workdir,
        stopper,
        on_start=on_start,
        hook=draw_progress,
        profile=profile,
    )
    about, params = _describe_run(config_file, *found)
    score(experiment, params, workdir, about)
    print(f"{'Metrics:':<13}{workdir}/metrics.jsonl, tensorboard")
    print(f"{'Checkpoints:':<13}{workdir}/checkpoints")


def evaluate_newest(
    experiment: Experiment, workdir: Path, config_file: str, *, export: Path | None = None
) -> None:
    """Score the newest checkpoint, in a folder of its own beside what the training wrote.

    Args:
        experiment: What was trained.
        workdir: Folder of the run.
        config_file: As given to ``--config``.
        export: Where the main setting's samples are written, if anywhere.
    """
    about, params = _describe_run(config_file, *load_training(experiment.training, workdir))
    folder = find_folder(experiment, workdir, f"step{about['steps']:06d}")
    score(experiment, params, folder, about, export=export)


def sample(
    generator: Generator,
    task: Task,
    workdir: Path,
    *,
    name: str,
    seed: int,
    prompts: Sequence[str] = (),
    label: int | None = None,
    trajectory: bool = False,
    gif: bool = False,
    export: Path | None = None,
    **sampling: Any,
) -> None:
    """Draw samples into ``<workdir>/samples``.

    Args:
        generator: What they are drawn from.
        task: What is generated from what.
        workdir: Folder of the run.
        name: What the weights are called in the names of files.
        seed: Seed of the samples.
        prompts: Texts to draw; each of their samples becomes a file of its own, too.
        label: One class.
        trajectory: Whether to draw the reverse process as a strip.
        gif: Whether to draw it as an animation.
        export: Where to write the samples instead, for other evaluation code; nothing is drawn.
        **sampling: ``num_samples``, and options of ``generator.draw``.
    """
    request = [*prompts] or label
    if export is not None:
        batch_size = task.config.eval.batch_size
        export_samples(generator, export, seed, batch_size=batch_size, request=request, **sampling)
        print(f"Samples: {export}")
        return
    name = f"{name}-{describe(seed, prompts, **sampling, label=label)}"
    path = workdir / "samples" / f"{name}.png"
    places = find_places(task.config, workdir)
    drawn = task.show(generator, places, path, seed, request, **sampling)
    print(f"Samples: {drawn}")
    if prompts:
        print(f"One by one: {path.with_suffix('')}")
    for wanted, suffix in ((trajectory, ".png"), (gif, ".gif")):
        if wanted:
            strip = path.with_name(f"{path.stem}-trajectory{suffix}")
            draw_trajectory(
                generator, strip, seed, request=request, animate=suffix == ".gif", **sampling
            )
            print(f"Trajectory: {strip}")


def make_music(
    generator: Generator,
    workdir: Path,
    request: DanceRequest,
    *,
    name: str,
    seed: int,
    num_samples: int,
    **options: Any,
) -> None:
    """Make music for a dance.

    Args:
        generator: A model of dances.
        workdir: Folder of the run.
        request: The request.
        name: What the weights are called in the names of files.
        seed: Seed of the music.
        num_samples: Number of takes.
        **options: Of ``generator.draw``.
    """
    sampling = {"num_samples": num_samples, **options}
    file = f"{name}-{name_music(request, seed, **sampling)}"
    path = request.audio_out or workdir / "samples" / file
    for written in write_music(generator, request, path, seed, **sampling):
        print(f"Music: {written}")


def _describe_run(
    config_file: str, state: TrainState, position: RunProgress
) -> tuple[dict[str, Any], Params]:
    about = {
        "config_file": config_file,
        "steps": int(state.step),
        "train_seconds": position.train_seconds,
    }
    return about, state.ema_params
