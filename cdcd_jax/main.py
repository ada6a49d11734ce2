"""The command line: ``python -m cdcd_jax.main --config=configs/digits_sample_inter.py``."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

from cdcd_jax.build.codec_fit import build_codec_fit
from cdcd_jax.build.codec_training import build_codec_training
from cdcd_jax.build.codecs import needs_codec
from cdcd_jax.build.experiment import build
from cdcd_jax.build.music import is_music
from cdcd_jax.build.music_codec_fit import build_music_codec_fit
from cdcd_jax.build.music_codec_training import build_music_codec_training
from cdcd_jax.build.pictures import find_places
from cdcd_jax.build.preparation import build_music_preparation, build_preparation
from cdcd_jax.build.published import load_published
from cdcd_jax.build.published_music import load_published_music
from cdcd_jax.data.images import ImageError
from cdcd_jax.data.records import RecordError
from cdcd_jax.modes.codec import fit_codec, train_codec
from cdcd_jax.modes.dances import DanceRequest, find_player, read_dance
from cdcd_jax.modes.diffusion import (
    evaluate_newest,
    perform_newest,
    sample_newest,
    train_and_evaluate,
)
from cdcd_jax.modes.drawing import check_request
from cdcd_jax.modes.music_codec import fit_music_codec, train_music_codec
from cdcd_jax.modes.prepare import prepare_music, prepare_tokens
from cdcd_jax.modes.prompts import read_prompts
from cdcd_jax.modes.published import name_picture, sample_published
from cdcd_jax.modes.published_music import perform_published
from cdcd_jax.training.checkpoints import CheckpointError, OtherConfigError
from cdcd_jax.training.loop import TrainingDivergedError
from cdcd_jax.training.stopping import Stopper

T = TypeVar("T")

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run; runs/<name of the config> by default.")
flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "sample", "codec", "prepare"],
    "What to do. Train also trains the codec and prepares the tokens if they are missing.",
)
flags.DEFINE_integer("num_samples", None, "Sample: how many.")
flags.DEFINE_integer("label", None, "Sample: of which class; all in turn by default.")
flags.DEFINE_integer("num_steps", None, "Sample: reverse steps, up to T.")
flags.DEFINE_float("truncation", None, "Sample: mass of the guess kept at each step, 1 for all.")
flags.DEFINE_integer("top_k", None, "Sample: number of most likely tokens kept.")
flags.DEFINE_float("temperature", None, "Sample: temperature of the guess.")
flags.DEFINE_integer("seed", 0, "Sample: seed of the samples.")
flags.DEFINE_string(
    "reference_checkpoint",
    None,
    "Sample: a published CDCD or VQ-Diffusion checkpoint. One of pictures is converted once, into "
    "<workdir>/published/<name>; one of music needs --motion.",
)
flags.DEFINE_float("guidance", None, "Sample: how much more to listen to the condition; 1 is none.")
flags.DEFINE_multi_string("prompt", [], "Sample: a text; may be given several times.")
flags.DEFINE_string("prompt_file", None, "Sample: a file with a text a line, in UTF-8.")
flags.DEFINE_string("bpe_merges", None, "Sample: CLIP's file bpe_simple_vocab_16e6.txt.gz.")
flags.DEFINE_string("motion", None, "Sample: the motion file of a dance to make music for.")
flags.DEFINE_string("audio_out", None, "Sample: the WAV file; <workdir>/samples by default.")
flags.DEFINE_float("seconds", None, "Sample: how much of the dance; all by default.")
flags.DEFINE_string("genre", None, "Sample: genre of the music, for models that are told one.")
flags.DEFINE_string("video", None, "Sample: file of video features, for models that need them.")
flags.DEFINE_string("video_out", None, "Sample: an MP4 file of dance and music; needs ffmpeg.")
flags.DEFINE_float("denoise", 0.0, "Sample: how much noise to take out of the music; 1 is usual.")
flags.DEFINE_bool("trajectory", False, "Sample: draw how one of each row comes about, too.")
flags.DEFINE_bool("gif", False, "Sample: animate how the samples come about, too.")


def main(argv: Sequence[str]) -> None:
    """Run one mode; expected failures end with one sentence.

    Exit codes: 0 when done or after SIGTERM (with the state saved), 130 after SIGINT, 2 for a wrong
    flag or configuration, 1 for a checkpoint that is missing, unreadable or unwritable and for a
    loss that is not finite.
    """
    if len(argv) > 1:
        _fail(f"there is no argument {argv[1]!r}; flags begin with --", 2)
    _check_flags()
    # Orbax tells of every file and of every failure twice; what fails is raised as well.
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = _print_unless_stray
    stopper = Stopper()
    workdir = Path(FLAGS.workdir or default_workdir(_config_file()))
    try:
        if FLAGS.mode == "codec":
            _make_codec(workdir, stopper)
        elif FLAGS.mode == "prepare":
            _make_tokens(workdir)
        elif FLAGS.reference_checkpoint:
            _sample_published(workdir, Path(FLAGS.reference_checkpoint))
        else:
            _run_experiment(workdir, stopper)
    except OtherConfigError as error:
        _fail(str(error), 2)
    except (CheckpointError, TrainingDivergedError, ImageError, RecordError) as error:
        _fail(str(error), 1)


def _run_experiment(workdir: Path, stopper: Stopper) -> None:
    config, places = FLAGS.config, _checked(find_places, FLAGS.config, workdir)
    if FLAGS.mode == "train" and places is not None:
        missing_codec = needs_codec(config, places)
        missing_tokens = not places.has_tokens()
        if missing_codec or missing_tokens:
            _checked(build, config, workdir, rehearse=True)  # nothing wrong may wait for hours
        if missing_codec:
            print(f"There is no codec {places.codec_file} yet: training it first")
            _make_codec(workdir, stopper)
        if missing_tokens:
            print(f"There are no tokens in {places.tokens} yet: preparing them first")
            _make_tokens(workdir)
    experiment = _checked(build, config, workdir)
    sampling = _override(experiment.sampling)
    prompts = _checked(read_prompts, FLAGS.prompt, FLAGS.prompt_file)
    _checked(check_request, experiment, prompts=prompts, **sampling)
    request = None
    if experiment.segments is not None and (FLAGS.trajectory or FLAGS.gif):
        _fail("trajectory, gif: music cannot be drawn on its way; leave it out", 2)
    if FLAGS.motion:
        request = _request()
        _checked(read_dance, _checked(find_player, experiment), request)
    if FLAGS.mode != "sample":
        _checked(experiment.scoring.check)
    if FLAGS.mode == "train":
        train_and_evaluate(experiment, workdir, stopper, _config_file())
    elif FLAGS.mode == "evaluate":
        evaluate_newest(experiment, workdir, _config_file())
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
            **sampling,
        )


def _request() -> DanceRequest:
    """Take the flags on a dance."""
    files = {name: getattr(FLAGS, name) for name in ("video", "audio_out", "video_out")}
    return DanceRequest(
        motion=Path(FLAGS.motion),
        seconds=FLAGS.seconds,
        genre=FLAGS.genre,
        denoise=FLAGS.denoise,
        **{name: Path(file) if file else None for name, file in files.items()},
    )


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
        perform_published, model, path, workdir, _request(), seed=FLAGS.seed, **sampling
    ):
        print(f"Music: {file}")


def _published_sampling(num_steps: int) -> dict[str, Any]:
    num_steps = FLAGS.config.sample.num_steps or num_steps
    return _override(FLAGS.config.sample.to_dict() | {"num_steps": num_steps})


def _make_codec(workdir: Path, stopper: Stopper) -> None:
    if is_music(FLAGS.config):
        if FLAGS.config.codec.name == "spectra":
            _checked(fit_music_codec, _checked(build_music_codec_fit, FLAGS.config, workdir))
        else:
            train_music_codec(_checked(build_music_codec_training, FLAGS.config, workdir), stopper)
    elif FLAGS.config.codec.name == "patches":
        fit_codec(_checked(build_codec_fit, FLAGS.config, workdir))
    else:
        train_codec(_checked(build_codec_training, FLAGS.config, workdir), stopper)


def _make_tokens(workdir: Path) -> None:
    if is_music(FLAGS.config):
        _checked(prepare_music, _checked(build_music_preparation, FLAGS.config, workdir))
    else:
        _checked(prepare_tokens, _checked(build_preparation, FLAGS.config, workdir))


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


def _override(configured: dict[str, Any]) -> dict[str, Any]:
    """Let the flags override the configuration's way of sampling."""
    given = {name: getattr(FLAGS, name) for name in configured}
    changed = {name: value for name, value in given.items() if value is not None}
    return configured | changed | {"label": FLAGS.label}


def _check_flags() -> None:
    """Refuse flags on samples and published checkpoints where nothing would read them."""
    dancing = ("audio_out", "seconds", "genre", "video", "video_out", "denoise")
    given = [name for name in dancing if getattr(FLAGS, name)]
    if given and not FLAGS.motion:
        _fail(f"{given[0]} needs a dance to make music for; add --motion=FILE", 2)
    drawing = ("prompt", "prompt_file", "trajectory", "gif")
    if FLAGS.motion and any(getattr(FLAGS, name) for name in (*drawing, "bpe_merges")):
        _fail(f"{', '.join(drawing)}, bpe_merges are for pictures; leave out --motion", 2)
    if FLAGS.motion and FLAGS.label is not None:
        _fail("label: a dance is given by its file, and its genre by --genre; leave it out", 2)
    if not FLAGS.reference_checkpoint:
        if FLAGS.bpe_merges:
            _fail("bpe_merges needs --reference_checkpoint=FILE", 2)
        if FLAGS.mode != "sample" and FLAGS.motion:
            _fail("motion is for samples; add --mode=sample", 2)
        if FLAGS.mode != "sample" and any(getattr(FLAGS, name) for name in drawing):
            _fail(f"{', '.join(drawing)} are for samples; add --mode=sample", 2)
    elif FLAGS.mode != "sample":
        _fail("reference_checkpoint can be sampled only; add --mode=sample", 2)
    elif FLAGS.trajectory or FLAGS.gif:
        _fail("trajectory, gif: there is none of a published checkpoint; leave it out", 2)


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
