"""The flags of the command line and the modes that read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from cdcd_jax.cli.dances import DanceRequest
from cdcd_jax.diffusion.samplers.sample import option_names
from cdcd_jax.distributed.watchdog import STUCK_TIMEOUT
from cdcd_jax.experiment.plan import PROGRAMS
from cdcd_jax.settings.config_file import EXAMPLE, ConfigFileParser
from cdcd_jax.training.sampling_options import MAX_SEED
from cdcd_jax.training.sampling_options import SAMPLING as OPTIONS

FLAGS = flags.FLAGS
MODES = ("train", "evaluate", "sample", "edit", "codec", "prepare", "plan")
RUNNING = MODES[:-1]

MAX_SAMPLES = 10_000_000
MAX_DEVICES = 4096
"""Devices that a plan can be compiled for in some minutes."""


class Use(NamedTuple):
    """The modes that read a flag; it is refused in all others.

    Attributes:
        modes: Values of ``--mode``.
        needs: Another flag, without which it is not read.
        without: Other flags, with which it is not read.
        instead: What to do in another mode.
    """

    modes: tuple[str, ...]
    needs: str | None = None
    without: tuple[str, ...] = ()
    instead: str = "leave it out"


USES: dict[str, Use] = {}
"""By the name of the flag."""

PATHS = (
    *("workdir", "reference_checkpoint", "start_from", "prompt_file", "bpe_merges", "motion"),
    *("video", "audio_out", "video_out", "export", "image", "mask", "music"),
)
"""Flags that name a file or a folder."""


def _define(kind: str, name: str, default: Any, what: str, use: Use, **options: Any) -> None:
    """Define a flag whose help begins with the modes that read it."""
    USES[name] = use
    conditions = [", ".join(use.modes).capitalize()] if use.modes not in (MODES, RUNNING) else []
    conditions += [f"with --{use.needs}"] if use.needs else []
    prefix = f"{' '.join(conditions)}: " if conditions else ""
    text = prefix + what if prefix else what[0].upper() + what[1:]
    getattr(flags, f"DEFINE_{kind}")(name, default, help=text, **options)


EVERYWHERE = Use(MODES)
SAMPLING = Use(("sample",), instead="it is for samples; add --mode=sample")
DRAWN = SAMPLING._replace(modes=("sample", "edit"))
EDITING = Use(("edit",), instead="it is for what is edited; add --mode=edit")
VARIED = "it is for samples; add --mode=sample, or set --config.eval.{} for scores"
KEPT = "it is for samples; add --mode=sample, or set --config.sample.{} for scores"
DRAWING = DRAWN._replace(without=("motion",))
WATCHING = SAMPLING._replace(without=("motion", "export"))
DANCING = DRAWN._replace(needs="motion")
PLAYING = SAMPLING._replace(needs="motion")
HOSTS = Use(RUNNING, instead="a plan takes no other hosts; leave it out")
PLANNING = Use(("plan",), instead="training takes the devices that there are; add --mode=plan")

config_flags.DEFINE_config_file(
    "config",
    lock_config=True,
    help_string=f"The experiment: a Python file, which is run (open a stranger's first), such as "
    f"{EXAMPLE}; --config.section.key=value overrides a value of it.",
)
FLAGS["config"].parser = ConfigFileParser()
_define("string", "workdir", None, "folder of the run; runs/<config> by default.", EVERYWHERE)
flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "What to do. Train also trains the codec and prepares the tokens if they are missing. "
    "Plan says what training will take, without data, weights or accelerators.",
)
_define(
    *("enum", "plan", None),
    "which program is planned, by the mode that runs it: a step of training, by default; sampling "
    "as evaluate does it; or a step of the codec's training.",
    PLANNING,
    enum_values=PROGRAMS,
)
_define("bool", "debug", False, "print the traceback of an error, too.", EVERYWHERE)
_define(
    *("string", "profile", None),
    "steps to trace, such as 10:20; the trace goes to <workdir>/profile.",
    Use(("train",), instead="it is for training; leave it out, or add --mode=train"),
)
_define(
    *("integer", "devices", None, "how many; by default as in the section mesh.", PLANNING),
    lower_bound=1,
    upper_bound=MAX_DEVICES,
)
_define(
    "string", "hardware", None, "the device, h200 by default; see docs/guides/scale.md.", PLANNING
)
_define(
    *("string", "topology", None),
    "how the devices are arranged, such as 4x4 for tpu-v5e or 1x8 for h200: the compiler of the "
    'hardware makes the program. It comes with pip install "cdcd_jax[tpu]" or "cdcd_jax[cuda]".',
    PLANNING._replace(without=("devices",)),
)
_define(
    *("integer", "num_samples", None, "how many."),
    DRAWN._replace(instead=VARIED.format("num_samples")),
    lower_bound=1,
    upper_bound=MAX_SAMPLES,
)
_define(
    *("integer", "label", None, "of which class; all in turn by default.", DRAWING),
    lower_bound=0,
)
_define(
    *("integer", "num_steps", None, "reverse steps, up to T."),
    DRAWN._replace(instead=VARIED.format("num_steps")),
    lower_bound=1,
)
_define(
    *("float", "truncation", None, "mass of the prediction kept at each step, 1 for all."),
    DRAWN._replace(instead=VARIED.format("truncations")),
)
_define(
    *("integer", "top_k", None, "number of most likely tokens kept."),
    DRAWN._replace(instead=KEPT.format("top_k")),
    lower_bound=1,
)
_define(
    *("float", "temperature", None, "temperature of the prediction."),
    DRAWN._replace(instead=KEPT.format("temperature")),
)
_define(
    *("float", "guidance", None, "scale of classifier-free guidance; 1 is none."),
    DRAWN._replace(instead=KEPT.format("guidance")),
)
_define(
    *("string", "sampler", None, "rule of a step, such as confidence; docs/guides/sampling.md."),
    DRAWN._replace(instead=KEPT.format("sampler")),
)
_define(
    *("string", "corrector", None, "what repairs the tokens after each step, such as gibbs."),
    DRAWN._replace(instead=KEPT.format("corrector")),
)
_define(
    *("string", "times", None, "which steps are taken: uniform, cosine or polynomial."),
    DRAWN._replace(instead=KEPT.format("times")),
)
_define(
    *("integer", "seed", 0, "seed of the samples."),
    DRAWN._replace(
        instead="it is the seed of samples; add --mode=sample, or set --config.train.seed or "
        "--config.eval.seed"
    ),
    lower_bound=0,
    upper_bound=MAX_SEED,
)
_define(
    *("string", "reference_checkpoint", None),
    "a published CDCD or VQ-Diffusion checkpoint, or a folder of diffusers. It is converted once, "
    "into <workdir>/published/<name>; to sample one of music needs --motion.",
    Use(
        ("sample", "edit", "evaluate"),
        instead="add --mode=sample or --mode=evaluate, or fine-tune it: --mode=train "
        "--start_from=FILE",
    ),
)
_define(
    *("string", "start_from", None),
    "take the weights of a published checkpoint, or of a run's folder, where names and shapes "
    "match; optimizer, average and step start anew.",
    Use(("train",), instead="what was trained keeps it; leave it out"),
)
_define("multi_string", "prompt", [], "a text; may be given several times.", DRAWING)
_define(
    *("string", "negative_prompt", None),
    "a text that samples are guided away from, by --guidance above 1.",
    DRAWING,
)
_define("string", "prompt_file", None, "a file with a text a line, in UTF-8.", DRAWING)
_define(
    *("string", "bpe_merges", None, "CLIP's file bpe_simple_vocab_16e6.txt.gz."),
    Use(("sample", "edit", "evaluate"), needs="reference_checkpoint", without=("motion",)),
)
_define(
    *("string", "image", None, "the image that is edited, of any size."),
    EDITING._replace(without=("music",)),
)
_define(
    *("string", "mask", None),
    "an image of the same size: what is not black is generated anew; all by default.",
    EDITING._replace(needs="image", without=("box",)),
)
_define(
    *("string", "box", None),
    "the same as a box of pixels, TOP,LEFT,HEIGHT,WIDTH.",
    EDITING._replace(needs="image", without=("mask",)),
)
_define(
    *("float", "strength", 1.0),
    "how much of the way from noise what is edited goes, up to 1; less keeps it more alike.",
    EDITING,
)
_define(
    *("string", "music", None, "the sound that is edited, or continued for a longer dance."),
    EDITING._replace(without=("image",)),
)
_define(
    *("multi_string", "span", []),
    "what is generated anew, START:END in seconds; several with commas; all by default.",
    EDITING._replace(needs="music"),
)
_define("string", "motion", None, "the motion file of a dance to make music for.", DRAWN)
_define(
    "string",
    "audio_out",
    None,
    "the WAV file, FILE.wav, with its spectrogram FILE.wav.png; <workdir>/samples by default.",
    PLAYING,
)
_define("float", "seconds", None, "how much of the dance; all by default.", DANCING)
_define("string", "genre", None, "genre of the music, for models conditioned on one.", DANCING)
_define("string", "video", None, "file of video features, for models that need them.", DANCING)
_define("string", "video_out", None, "an MP4 of dance and music; needs cdcd_jax[video].", PLAYING)
_define(
    *("float", "denoise", 0.0, "how much noise to take out of the music; 1 is usual.", PLAYING),
    lower_bound=0.0,
    upper_bound=100.0,
)
_define(
    "bool", "trajectory", False, "also draw the reverse process of one sample per row.", WATCHING
)
_define("bool", "gif", False, "also animate the reverse process.", WATCHING)
_define(
    *("string", "export", None),
    "a folder for the samples as PNG, or FILE.npz for an array arr_0, for other people's metrics.",
    Use(
        ("sample", "evaluate"),
        without=("motion",),
        instead="it is for samples; add --mode=sample or --mode=evaluate",
    ),
)
_define(
    *("string", "coordinator", None),
    "HOST:PORT of host 0; by default what the scheduler says.",
    HOSTS,
)
_define(
    *("integer", "num_hosts", None, "how many processes the run has.", HOSTS),
    lower_bound=1,
    upper_bound=10**6 - 1,
)
_define(
    *("integer", "host_index", None, "which of them this is, from 0.", HOSTS),
    lower_bound=0,
    upper_bound=10**6 - 2,
)
_define(
    *("integer", "host_timeout", 300, "seconds to wait until all have come.", HOSTS),
    lower_bound=1,
    upper_bound=10**6 - 1,
)
_define(
    *("integer", "host_stuck_timeout", STUCK_TIMEOUT),
    "seconds without progress that one may keep the others waiting; 0 forever.",
    HOSTS,
    lower_bound=0,
    upper_bound=10**6 - 1,
)


def dance_request() -> DanceRequest:
    """Read the flags about a dance."""
    files = {name: getattr(FLAGS, name) for name in ("video", "audio_out", "video_out")}
    return DanceRequest(
        motion=Path(FLAGS.motion),
        seconds=FLAGS.seconds,
        genre=FLAGS.genre,
        denoise=FLAGS.denoise,
        **{name: Path(file) if file else None for name, file in files.items()},
    )


def override(configured: Mapping[str, Any]) -> dict[str, Any]:
    """Let the flags override the configuration's way of sampling; a dance is played once.

    Options of a sampler or corrector that another one takes the place of are left out.
    """
    given = {name: getattr(FLAGS, name, None) for name in ("num_samples", *OPTIONS)}
    changed = {name: value for name, value in given.items() if value is not None}
    parts = {**configured, **changed}
    own = option_names(parts.get("sampler", "ancestral"), parts.get("corrector"))
    kept = ("num_samples", *OPTIONS, *own)
    configured = {name: value for name, value in configured.items() if name in kept}
    takes = {"num_samples": 1} if FLAGS.motion else {}
    return {**configured, **takes, **changed}
