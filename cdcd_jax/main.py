"""The command line: ``python -m cdcd_jax.main --config=configs/digits_sample_inter.py``."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from cdcd_jax.build import Experiment, build
from cdcd_jax.drawing import describe, draw, draw_trajectory
from cdcd_jax.evaluation.run import evaluate, format_table
from cdcd_jax.training.checkpoints import (
    CheckpointError,
    Checkpoints,
    OtherConfigError,
    Position,
    writing,
)
from cdcd_jax.training.generation import check_sampling
from cdcd_jax.training.loop import TrainingDivergedError, compile_step, train
from cdcd_jax.training.metrics import MetricsWriter
from cdcd_jax.training.sharding import replicated
from cdcd_jax.training.state import TrainState, abstract_state, compute_state
from cdcd_jax.training.stopping import Stopper

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run; runs/<name of the config> by default.")
flags.DEFINE_enum("mode", "train", ["train", "sample", "evaluate"], "What to do.")
flags.DEFINE_integer("num_samples", None, "Sample: how many.")
flags.DEFINE_integer("label", None, "Sample: of which class; all in turn by default.")
flags.DEFINE_integer("num_steps", None, "Sample: reverse steps, up to T.")
flags.DEFINE_float("truncation", None, "Sample: mass of the guess kept at each step, 1 for all.")
flags.DEFINE_integer("top_k", None, "Sample: number of most likely tokens kept.")
flags.DEFINE_float("temperature", None, "Sample: temperature of the guess.")
flags.DEFINE_integer("seed", 0, "Sample: seed of the samples.")
flags.DEFINE_bool("trajectory", False, "Sample: draw how one of each class comes about, too.")


def main(argv: Sequence[str]) -> None:
    """Run one mode; expected failures end with one sentence.

    Exit codes: 0 when done or after SIGTERM (with the state saved), 130 after SIGINT, 2 for a wrong
    flag or configuration, 1 for a checkpoint that is missing, unreadable or unwritable and for a
    loss that is not finite.
    """
    if len(argv) > 1:
        _fail(f"there is no argument {argv[1]!r}; flags begin with --", 2)
    # Orbax tells of every file and of every failure twice; what fails is raised as well.
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = _print_unless_stray
    stopper = Stopper()
    workdir = Path(FLAGS.workdir or default_workdir(_config_file()))
    try:
        experiment = build(FLAGS.config)
        sampling = _sampling(experiment)
    except (ValueError, OSError) as error:
        _fail(str(error), 2)
    try:
        if FLAGS.mode == "train":
            _train(experiment, workdir, stopper)
        elif FLAGS.mode == "evaluate":
            _evaluate(experiment, workdir, *_load(experiment, workdir))
        else:
            state, _ = _load(experiment, workdir)
            path = workdir / "samples" / f"{describe(FLAGS.seed, **sampling)}.png"
            print(f"Samples: {draw(experiment, state.ema_params, path, FLAGS.seed, **sampling)}")
            if FLAGS.trajectory:
                path = path.with_stem(f"{path.stem}-trajectory")
                draw_trajectory(experiment, state.ema_params, path, FLAGS.seed, **sampling)
                print(f"Trajectory: {path}")
    except OtherConfigError as error:
        _fail(str(error), 2)
    except (CheckpointError, TrainingDivergedError) as error:
        _fail(str(error), 1)


def default_workdir(config_file: str) -> str:
    """Name the folder of a run after its configuration.

    Args:
        config_file: As given to ``--config``, with the variant if any.

    Returns:
        A relative path.

    >>> default_workdir("configs/digits_vanilla.py:smoke")
    'runs/digits_vanilla-smoke'
    """
    path, _, variant = config_file.partition(":")
    return f"runs/{Path(path).stem}" + (f"-{variant}" if variant else "")


def _train(experiment: Experiment, workdir: Path, stopper: Stopper) -> None:
    batches = experiment.make_batches()
    seconds, sharding = 0.0, replicated(experiment.mesh)
    with _open_checkpoints(experiment, workdir) as checkpoints:
        template = abstract_state(experiment.init_state, sharding)
        checkpoints.check_space(template)
        found = checkpoints.restore(template)
        if found is None:
            state = compute_state(experiment.init_state, sharding)
        else:
            state, position = found
            batches.set_state(position.data)
            seconds = position.train_seconds
            print(f"Going on from step {int(state.step)} in {workdir}")
        with (
            writing(workdir),
            MetricsWriter(workdir, step=int(state.step)) as writer,
            stopper.deferred(),
        ):
            state, seconds = train(
                compile_step(experiment.train_step, experiment.mesh),
                state,
                batches,
                options=experiment.loop,
                mesh=experiment.mesh,
                checkpoints=checkpoints,
                writer=writer,
                train_seconds=seconds,
                hook=lambda state: _draw_progress(experiment, workdir, state),
                stop_requested=lambda: stopper.requested,
            )
    if stopper.requested and int(state.step) < experiment.loop.num_steps:
        print(f"Stopped at step {int(state.step)}; run the same command again to go on from there")
        sys.exit(stopper.exit_code)
    _evaluate(experiment, workdir, state, Position(None, seconds))


def _evaluate(experiment: Experiment, workdir: Path, state: TrainState, position: Position) -> None:
    params, options = state.ema_params, dict(experiment.evaluation)
    # What samples are drawn with, but for what the evaluation varies.
    fixed = {name: experiment.sampling[name] for name in ("top_k", "temperature")}
    result = evaluate(
        jax.random.key(options.pop("seed")),
        bound_fn=lambda key, z0, cond: experiment.bound_fn(params, key, z0, cond),
        sample_fn=lambda key, labels, num_steps, truncation: experiment.sample_fn(
            params, key, labels, num_steps=num_steps, truncation=truncation, **fixed
        ),
        train=experiment.train_examples,
        test=experiment.test_examples,
        **options,
    )
    grid = draw(experiment, params, workdir / "samples.png", experiment.seed, **experiment.sampling)
    summary = {
        "config_file": _config_file(),
        "steps": int(state.step),
        "train_seconds": position.train_seconds,
        **result,
        "sample_grid": str(grid),
        "config": experiment.config,
    }
    with writing(workdir):
        part = workdir / "summary.json.part"
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        part.replace(workdir / "summary.json")
    print(format_table(result))
    print(f"Trained {summary['steps']} steps in {position.train_seconds:.0f} s")
    for name, place in {
        "Summary": "summary.json",
        "Samples": grid.name,
        "Metrics": "metrics.jsonl, tensorboard",
        "Checkpoints": "checkpoints",
    }.items():
        print(f"{name + ':':<13}{workdir}/{place}")


def _load(experiment: Experiment, workdir: Path) -> tuple[TrainState, Position]:
    """Read the newest checkpoint of a run that must have one."""
    if (workdir / "checkpoints").is_dir():
        with _open_checkpoints(experiment, workdir) as checkpoints:
            sharding = replicated(experiment.mesh)
            found = checkpoints.restore(abstract_state(experiment.init_state, sharding))
        if found is not None:
            return found
    raise CheckpointError(
        f"there is no checkpoint in {workdir}; train first with --mode=train, or give the "
        "--workdir of a run"
    )


def _config_file() -> str:
    return config_flags.get_config_filename(FLAGS["config"])


def _open_checkpoints(experiment: Experiment, workdir: Path) -> Checkpoints:
    return Checkpoints(
        workdir / "checkpoints",
        fingerprint=experiment.fingerprint,
        keep=experiment.keep_checkpoints,
    )


def _sampling(experiment: Experiment) -> dict[str, Any]:
    """Let the flags override the configuration's way of sampling."""
    given = {name: getattr(FLAGS, name) for name in experiment.sampling}
    sampling = experiment.sampling | {
        name: value for name, value in given.items() if value is not None
    }
    sampling["label"] = FLAGS.label
    check_sampling(experiment.schedule, experiment.num_classes, **sampling)
    return sampling


def _draw_progress(experiment: Experiment, workdir: Path, state: TrainState) -> None:
    path = workdir / "samples" / f"step{int(state.step):06d}.png"
    draw(experiment, state.ema_params, path, experiment.seed, **experiment.sampling)


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"Error: {sentence}", file=sys.stderr)
    if code == 1:
        # Threads of a failed save would print tracebacks after our last word while Python ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _print_unless_stray(unraisable: Any) -> None:
    """Print what a callback could not raise, but for what those of a failed save leave behind."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parse as absl does, with one sentence where it would show a traceback or the whole usage."""
    try:
        rest = FLAGS(list(argv))
        if FLAGS.config is None:
            _fail("no configuration is given; add --config=configs/digits_sample_inter.py", 2)
        hasattr(FLAGS.config, "train")  # A file that cannot be read fails when first looked at.
    except AttributeError as error:
        _fail(f"the configuration has no such key: {_joined(error)}", 2)
    except (flags.Error, KeyError, TypeError, ValueError, OSError) as error:
        _fail(_joined(error), 2)
    return rest


def _joined(error: Exception) -> str:
    """Put the message of an error on one line; of a traceback inside it, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        lines = [lines[-1].removeprefix("ValueError: ")]
    return " ".join(lines) or repr(error)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
