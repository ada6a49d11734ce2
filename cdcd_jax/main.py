"""The command line: ``python -m cdcd_jax.main --config=configs/digits_sample_inter.py``."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
from absl import app, logging
from ml_collections import config_flags

from cdcd_jax.build.codec_fit import build_codec_fit
from cdcd_jax.build.codec_training import build_codec_training
from cdcd_jax.build.codecs import needs_codec
from cdcd_jax.build.experiment import build
from cdcd_jax.build.miniature import NOTICE, is_synthetic, provide_synthetic
from cdcd_jax.build.music import is_music
from cdcd_jax.build.music_codec_fit import build_music_codec_fit
from cdcd_jax.build.music_codec_training import build_music_codec_training
from cdcd_jax.build.pictures import find_places
from cdcd_jax.build.plan import build_plan, count_devices
from cdcd_jax.build.preparation import build_music_preparation, build_preparation
from cdcd_jax.build.pretrained import fit_params
from cdcd_jax.build.published import load_published
from cdcd_jax.build.published_config import load_pretrained
from cdcd_jax.build.published_music import load_published_music
from cdcd_jax.build.start import Start, start_experiment
from cdcd_jax.build.start_reading import read_start, with_kept_tower
from cdcd_jax.data.images import ImageError
from cdcd_jax.data.records import RecordError
from cdcd_jax.evaluation.scorer import EvaluationError
from cdcd_jax.files import silence_other_hosts
from cdcd_jax.flags import FLAGS, check_flags, dance_request, override, parse_flags
from cdcd_jax.modes.codec import fit_codec, train_codec
from cdcd_jax.modes.dances import find_player, read_dance
from cdcd_jax.modes.diffusion import (
    evaluate_newest,
    perform_newest,
    sample_newest,
    train_and_evaluate,
)
from cdcd_jax.modes.drawing import check_request
from cdcd_jax.modes.exporting import check_pictures
from cdcd_jax.modes.music_codec import fit_music_codec, train_music_codec
from cdcd_jax.modes.plan import imagine_devices, plan_run
from cdcd_jax.modes.prepare import prepare_music, prepare_tokens
from cdcd_jax.modes.prompts import read_prompts
from cdcd_jax.modes.published import evaluate_published, name_picture, sample_published
from cdcd_jax.modes.published_music import perform_published
from cdcd_jax.planning.hardware import find_hardware
from cdcd_jax.training.agreement import all_agree
from cdcd_jax.training.checkpoint_folder import CheckpointError
from cdcd_jax.training.fingerprint import OtherConfigError
from cdcd_jax.training.hosts import ending_alone, explain_loss, join_hosts
from cdcd_jax.training.loop import TrainingDivergedError
from cdcd_jax.training.profiling import parse_profile
from cdcd_jax.training.rollcall import MissingHostError
from cdcd_jax.training.stopping import Stopper, let_others_speak

T = TypeVar("T")


def main(argv: Sequence[str]) -> None:
    """Run one mode; expected failures end with one sentence.

    Exit codes: 0 when done or after SIGTERM (with the state saved), 130 after SIGINT, 2 for a wrong
    flag or configuration, 1 for a checkpoint that is missing, unreadable or unwritable, for a
    loss that is not finite, and for another host that is missing or has gone.
    """
    if len(argv) > 1:
        _fail(f"there is no argument {argv[1]!r}; flags begin with --", 2)
    _checked(check_flags)
    # Orbax tells of every file and of every failure twice; what fails is raised as well.
    logging.set_verbosity(logging.FATAL)
    others = _join()
    with ending_alone(others):
        _run(Stopper(others=others))


def _join() -> bool:
    flags = {name: FLAGS[name].value for name in ("coordinator", "num_hosts", "host_index")}
    try:
        return _checked(join_hosts, **flags, timeout=FLAGS.host_timeout)
    except MissingHostError as error:
        _fail(str(error), 1)


def _run(stopper: Stopper) -> None:
    sys.unraisablehook = _print_unless_stray
    silence_other_hosts()
    workdir = Path(FLAGS.workdir or default_workdir(_config_file()))
    try:
        if is_synthetic(FLAGS.config) and FLAGS.mode != "plan" and not FLAGS.reference_checkpoint:
            print(NOTICE)
            _checked(provide_synthetic, FLAGS.config, workdir)
        if FLAGS.mode == "plan":
            _plan(workdir)
        elif FLAGS.mode == "codec":
            _make_codec(FLAGS.config, workdir, stopper)
        elif FLAGS.mode == "prepare":
            _make_tokens(FLAGS.config, workdir)
        elif FLAGS.reference_checkpoint and FLAGS.mode == "evaluate":
            _evaluate_published(workdir, Path(FLAGS.reference_checkpoint), stopper)
        elif FLAGS.reference_checkpoint:
            _sample_published(workdir, Path(FLAGS.reference_checkpoint))
        else:
            _run_experiment(workdir, stopper)
    except OtherConfigError as error:
        _fail(str(error), 2)
    except (
        CheckpointError, EvaluationError, TrainingDivergedError, ImageError, RecordError
    ) as error:  # fmt: skip
        # Alone, words such as "unavailable" are the disk's, not another host's.
        lost = explain_loss(error) if jax.distributed.is_initialized() else None
        _fail(lost or str(error), 1)


def _run_experiment(workdir: Path, stopper: Stopper) -> None:
    config, profile, start = FLAGS.config, None, None
    if FLAGS.profile:
        steps = {"num_steps": config.train.num_steps, "folder": workdir / "profile"}
        profile = _checked(parse_profile, FLAGS.profile, **steps)
    if FLAGS.start_from:
        start = _checked(read_start, config, Path(FLAGS.start_from), workdir)
    config = _checked(with_kept_tower, config, workdir)
    if FLAGS.mode == "train":
        _make_missing(config, workdir, stopper, start)
    experiment = _checked(build, config, workdir)
    if start is not None:
        experiment = _checked(start_experiment, experiment, start, tell=print)
    sampling = override(experiment.sampling)
    prompts = _checked(read_prompts, FLAGS.prompt, FLAGS.prompt_file)
    _checked(check_request, experiment, prompts=prompts, **sampling)
    request = None
    if experiment.segments is not None and (FLAGS.trajectory or FLAGS.gif):
        _fail("trajectory, gif: music cannot be drawn on its way; leave it out", 2)
    export = _checked(check_pictures, experiment, FLAGS.export) if FLAGS.export else None
    if FLAGS.motion:
        request = dance_request()
        _checked(read_dance, _checked(find_player, experiment), request)
    if FLAGS.mode != "sample":
        _checked(experiment.scoring.check)
    if FLAGS.mode == "train":
        train_and_evaluate(experiment, workdir, stopper, _config_file(), profile=profile)
    elif FLAGS.mode == "evaluate":
        evaluate_newest(experiment, workdir, _config_file(), export=export)
    elif request is not None:
        _checked(perform_newest, experiment, workdir, request, seed=FLAGS.seed, **sampling)
    else:
        sample_newest(
            experiment,
            workdir,
            seed=FLAGS.seed,
            prompts=prompts,
            trajectory=FLAGS.trajectory,
            gif=FLAGS.gif,
            export=export,
            **sampling,
        )


def _make_missing(config: Any, workdir: Path, stopper: Stopper, start: Start | None = None) -> None:
    """Train the codec and prepare the tokens that are not there yet."""
    places = _checked(find_places, config, workdir)
    if places is None:
        return
    # A shared folder may look different to each host for a while; all must go the same way.
    missing_codec = not all_agree(not needs_codec(config, places))
    missing_tokens = not all_agree(places.has_tokens())
    if missing_codec or missing_tokens:
        rehearsed = _checked(build, config, workdir, rehearse=True)  # nothing may wait for hours
        if start is not None:
            _checked(start_experiment, rehearsed, start, tell=lambda line: None)
    if missing_codec:
        print(f"There is no codec {places.codec_file} yet: training it first")
        _make_codec(config, workdir, stopper)
    if missing_tokens:
        print(f"There are no tokens in {places.tokens} yet: preparing them first")
        _make_tokens(config, workdir)


def _evaluate_published(workdir: Path, path: Path, stopper: Stopper) -> None:
    merges = FLAGS.bpe_merges
    pretrained = _checked(load_pretrained, FLAGS.config, path, workdir, merges=merges)
    if changes := pretrained.changes(FLAGS.config):
        print(f"Of the checkpoint: {', '.join(changes)}")
    config = _checked(pretrained.configure, FLAGS.config)
    _make_missing(config, workdir, stopper)
    experiment = _checked(build, config, workdir)
    _checked(experiment.scoring.check)
    params = _checked(fit_params, pretrained, experiment)
    export = _checked(check_pictures, experiment, FLAGS.export) if FLAGS.export else None
    evaluate_published(experiment, params, path, workdir, _config_file(), export=export)


def _sample_published(workdir: Path, path: Path) -> None:
    if is_music(FLAGS.config) or FLAGS.motion:
        _perform_published(workdir, path)
        return
    model = _checked(load_published, FLAGS.config, path, workdir / "published" / path.stem)
    sampling = _published_sampling(model.schedule.num_steps)
    prompts = _checked(read_prompts, FLAGS.prompt, FLAGS.prompt_file)
    name = name_picture(path, prompts, FLAGS.seed, **sampling)
    picture = _checked(
        sample_published,
        model,
        workdir / "samples" / f"{name}.png",
        seed=FLAGS.seed,
        prompts=prompts,
        merges_file=FLAGS.bpe_merges,
        **sampling,
    )
    print(f"Samples: {picture}")


def _perform_published(workdir: Path, path: Path) -> None:
    if not is_music(FLAGS.config):
        _fail("motion needs a configuration of music; take --config=configs/aist_vanilla.py", 2)
    if not FLAGS.motion:
        _fail(f"music is made for a dance; add --motion=FILE to sample {path}", 2)
    dtype = FLAGS.config.denoiser.compute_dtype
    model = _checked(load_published_music, path, compute_dtype=dtype)
    sampling = _published_sampling(model.schedule.num_steps)
    for file in _checked(
        perform_published, model, path, workdir, dance_request(), seed=FLAGS.seed, **sampling
    ):
        print(f"Music: {file}")


def _published_sampling(num_steps: int) -> dict[str, Any]:
    num_steps = FLAGS.config.sample.num_steps or num_steps
    return override(FLAGS.config.sample.to_dict() | {"num_steps": num_steps})


def _make_codec(config: Any, workdir: Path, stopper: Stopper) -> None:
    if is_music(config):
        if config.codec.name == "spectra":
            _checked(fit_music_codec, _checked(build_music_codec_fit, config, workdir))
        else:
            train_music_codec(_checked(build_music_codec_training, config, workdir), stopper)
    elif config.codec.name == "patches":
        fit_codec(_checked(build_codec_fit, config, workdir))
    else:
        train_codec(_checked(build_codec_training, config, workdir), stopper)


def _make_tokens(config: Any, workdir: Path) -> None:
    if is_music(config):
        _checked(prepare_music, _checked(build_music_preparation, config, workdir))
    else:
        _checked(prepare_tokens, _checked(build_preparation, config, workdir))


def _plan(workdir: Path) -> None:
    hardware = _checked(find_hardware, FLAGS.hardware or "h200")
    asked = FLAGS.devices
    _checked(imagine_devices, count_devices(FLAGS.config) if asked is None else asked)
    run = _checked(build_plan, FLAGS.config)
    _checked(plan_run, run, hardware, workdir, devices=asked)


def _checked(make: Callable[..., T], *args: Any, **options: Any) -> T:
    """Build something; what is wrong with the configuration ends here with a sentence."""
    try:
        return make(*args, **options)
    except (ValueError, OSError) as error:
        _fail(str(error), 2)


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


def _config_file() -> str:
    return config_flags.get_config_filename(FLAGS["config"])


def _fail(sentence: str, code: int) -> NoReturn:
    host = f" on host {jax.process_index()}" if jax.distributed.is_initialized() else ""
    print(f"Error{host}: {sentence}", file=sys.stderr)
    if code == 1 or jax.distributed.is_initialized():
        # Threads of a failed save would print tracebacks after our last word while Python ends, and
        # JAX would wait for all hosts to come to their end.
        sys.stdout.flush()
        sys.stderr.flush()
        let_others_speak()
        os._exit(code)
    sys.exit(code)


def _print_unless_stray(unraisable: Any) -> None:
    """Print what a callback could not raise, but for what those of a failed save leave behind."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    return _checked(parse_flags, argv)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
