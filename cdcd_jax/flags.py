"""The flags of the command line, and what they may not be together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from cdcd_jax.build.settings import check_settings
from cdcd_jax.evaluation.export import check_export
from cdcd_jax.modes.dances import DanceRequest

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run; runs/<name of the config> by default.")
flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "sample", "codec", "prepare", "plan"],
    "What to do. Train also trains the codec and prepares the tokens if they are missing. "
    "Plan says what training will take, without data, weights or accelerators.",
)
flags.DEFINE_string(
    "profile", None, "Train: steps to trace, such as 10:20; the trace goes to <workdir>/profile."
)
flags.DEFINE_integer("devices", None, "Plan: how many; as the section mesh asks by default.")
flags.DEFINE_string("hardware", None, "Plan: the device, h200 by default; see docs/scale.md.")
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
    "Sample, evaluate: a published CDCD or VQ-Diffusion checkpoint, or a folder of diffusers. One "
    "of images is converted once, into <workdir>/published/<name>; to sample one of music needs "
    "--motion.",
)
flags.DEFINE_string(
    "start_from",
    None,
    "Train: take the weights of a published checkpoint, or of a run's folder, where names and "
    "shapes match; optimizer, average and step start anew.",
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
flags.DEFINE_string(
    "export",
    None,
    "Sample, evaluate: a folder for the samples as PNG, or FILE.npz for an array arr_0, for other "
    "people's metrics.",
)

flags.DEFINE_string(
    "coordinator", None, "Many hosts: HOST:PORT of host 0; by default what the scheduler says."
)
flags.DEFINE_integer("num_hosts", None, "Many hosts: how many processes the run has.")
flags.DEFINE_integer("host_index", None, "Many hosts: which of them this is, from 0.")
flags.DEFINE_integer("host_timeout", 300, "Many hosts: seconds to wait until all have come.")


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parse as absl does, with one sentence where it would show a traceback or the whole usage.

    Args:
        argv: The command line.

    Returns:
        What is left of it.

    Raises:
        ValueError: If a flag or the configuration is wrong.
    """
    try:
        rest = FLAGS(list(argv))
        if FLAGS.config is None:
            raise ValueError(
                "no configuration is given; add --config=configs/digits_sample_inter.py"
            )
        # A file that cannot be read fails when first looked at, here.
        check_settings(FLAGS.config, for_codec=True)
    except AttributeError as error:
        raise ValueError(f"the configuration has no such key: {_joined(error)}") from error
    except (flags.Error, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(_joined(error)) from error
    return rest


def check_flags() -> None:
    """Raise a ValueError for flags that nothing would read."""
    if FLAGS.mode != "plan" and (FLAGS.devices is not None or FLAGS.hardware):
        name = "hardware" if FLAGS.devices is None else "devices"
        raise ValueError(f"{name} is for plans, training takes what there is; add --mode=plan")
    dancing = ("audio_out", "seconds", "genre", "video", "video_out", "denoise")
    given = [name for name in dancing if getattr(FLAGS, name)]
    if given and not FLAGS.motion:
        raise ValueError(f"{given[0]} needs a dance to make music for; add --motion=FILE")
    if FLAGS.start_from and FLAGS.mode != "train":
        raise ValueError("start_from is for training, and what was trained keeps it; leave it out")
    if FLAGS.profile and FLAGS.mode != "train":
        raise ValueError("profile is for training; leave it out, or add --mode=train")
    if FLAGS.export:
        _check_export()
    drawing = ("prompt", "prompt_file", "trajectory", "gif")
    if FLAGS.motion and any(getattr(FLAGS, name) for name in (*drawing, "bpe_merges")):
        raise ValueError(f"{', '.join(drawing)}, bpe_merges are for pictures; leave out --motion")
    if FLAGS.motion and FLAGS.label is not None:
        raise ValueError(
            "label: a dance is given by its file, and its genre by --genre; leave it out"
        )
    if not FLAGS.reference_checkpoint:
        if FLAGS.bpe_merges:
            raise ValueError("bpe_merges needs --reference_checkpoint=FILE")
        if FLAGS.mode != "sample" and FLAGS.motion:
            raise ValueError("motion is for samples; add --mode=sample")
        if FLAGS.mode != "sample" and any(getattr(FLAGS, name) for name in drawing):
            raise ValueError(f"{', '.join(drawing)} are for samples; add --mode=sample")
    elif FLAGS.mode not in ("sample", "evaluate"):
        raise ValueError(
            "reference_checkpoint is to be sampled or evaluated; add --mode=sample or "
            "--mode=evaluate, or fine-tune it: --mode=train --start_from=FILE"
        )
    elif FLAGS.mode == "evaluate" and (FLAGS.motion or any(getattr(FLAGS, n) for n in drawing)):
        raise ValueError(f"motion, {', '.join(drawing)} are for samples; add --mode=sample")
    elif FLAGS.trajectory or FLAGS.gif:
        raise ValueError("trajectory, gif: there is none of a published checkpoint; leave it out")


def _check_export() -> None:
    if FLAGS.mode not in ("sample", "evaluate"):
        raise ValueError("export is for samples; add --mode=sample or --mode=evaluate")
    if FLAGS.trajectory or FLAGS.gif or FLAGS.motion:
        raise ValueError("trajectory, gif, motion: nothing is drawn with --export; leave them out")
    if FLAGS.mode == "sample" and FLAGS.reference_checkpoint:
        raise ValueError("export: of a published checkpoint it needs --mode=evaluate")
    check_export(Path(FLAGS.export))


def dance_request() -> DanceRequest:
    """Take what is asked for by the flags on a dance."""
    files = {name: getattr(FLAGS, name) for name in ("video", "audio_out", "video_out")}
    return DanceRequest(
        motion=Path(FLAGS.motion),
        seconds=FLAGS.seconds,
        genre=FLAGS.genre,
        denoise=FLAGS.denoise,
        **{name: Path(file) if file else None for name, file in files.items()},
    )


def override(configured: dict[str, Any]) -> dict[str, Any]:
    """Let the flags override the configuration's way of sampling; a dance is played once."""
    given = {name: getattr(FLAGS, name) for name in configured}
    changed = {name: value for name, value in given.items() if value is not None}
    takes = {"num_samples": 1} if FLAGS.motion else {}
    return configured | takes | changed | {"label": FLAGS.label}


def _joined(error: Exception) -> str:
    """Put the message of an error on one line; of a traceback inside it, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        lines = [lines[-1].removeprefix("ValueError: ")]
    return " ".join(lines) or repr(error)
