"""Which sections and keys a configuration has.

Keys of a section that one constructor takes are that constructor's arguments. Keys that are read
one by one are listed here; a test compares them with the base configurations.
"""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, NamedTuple

from cdcd_jax.codecs.jukebox_options import JukeboxOptions
from cdcd_jax.codecs.phases import SpectrumOptions
from cdcd_jax.codecs.vqgan import VQGANOptions
from cdcd_jax.conditioning.condition import text_condition
from cdcd_jax.data.dance.views import WaveformPlan
from cdcd_jax.data.shards.prepare_options import check_crops, check_options
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.distributed.mesh import AXES
from cdcd_jax.experiment.step import STEP_OPTIONS
from cdcd_jax.models.options import DenoiserOptions
from cdcd_jax.settings.sections import TRAIN_HOUSEKEEPING, make_decaying_optimizer
from cdcd_jax.tasks.conditions import DANCE_PARTS, make_dance_condition
from cdcd_jax.tasks.images import GENERATED, SOURCES
from cdcd_jax.tasks.music import DANCES, SOUND
from cdcd_jax.tasks.scoring import PLACES
from cdcd_jax.training.audio_codec_objective import make_audio_codec_objective
from cdcd_jax.training.codec_objective import make_codec_objective
from cdcd_jax.training.generation import check_sampling
from cdcd_jax.training.objective import make_objective
from cdcd_jax.training.optimizer import make_optimizer


class Keys(NamedTuple):
    """The keys of a section.

    Attributes:
        needed: Those that must be there.
        other: Those that may be there.
        strict: Whether keys of the section's other variants are refused.
    """

    needed: frozenset[str]
    other: frozenset[str] = frozenset()
    strict: bool = False

    @property
    def known(self) -> frozenset[str]:
        """Every key."""
        return self.needed | self.other


def _arguments(make: Callable[..., Any], *, given: Iterable[str] = ()) -> Keys:
    """Take the keys from the keyword arguments of a constructor, but for those that it is given."""
    kinds = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = {
        name: parameter.default is Parameter.empty
        for name, parameter in signature(make).parameters.items()
        if parameter.kind in kinds and name not in (*given, "self")
    }
    needed = frozenset(name for name, is_needed in parameters.items() if is_needed)
    return Keys(needed, frozenset(parameters) - needed, strict=True)


def _listed(needed: Iterable[str], *other: str) -> Keys:
    return Keys(frozenset(needed), frozenset(other))


def _fields(options: Callable[..., Any], *more: str, without: str = "") -> Keys:
    """Take all fields of options, each of which is read from the section."""
    return Keys(_arguments(options).known - {without} | frozenset(more))


VARIANT_OF = {
    "data": ("data", "name"),
    "codec": ("codec", "name"),
    "codec_fit": ("codec", "name"),
    "codec_loss": ("codec", "name"),
    "codec_train": ("codec", "name"),
    "condition": ("condition", "kind"),
    "eval": ("data", "name"),
    "prepare": ("data", "name"),
}
"""Keys that say which variant a section is, where it has several."""

ALWAYS = (
    *("data", "codec", "condition", "schedule", "loss", "denoiser", "optimizer"),
    *("train", "mesh", "eval", "sample"),
)
"""Sections that every configuration has."""


def section_keys() -> dict[str, dict[str, Keys]]:
    """List the keys of every section, by its variants.

    Returns:
        Keys by section and variant, which is empty where a section has but one.
    """
    optimizer = _optimizer_keys()
    return {
        "data": _data_keys(),
        "codec": {
            "pixels": Keys(frozenset({"name", "vocab_size", "grid"}), strict=True),
            "vqgan": _fields(
                VQGANOptions, "name", "folder", "weights", "used_codes", "unused", "batch_size"
            ),
            "patches": _listed(
                ("name", "folder", "image_size", "patch_size", "num_codes", "batch_size")
            ),
            "jukebox": _fields(
                *(JukeboxOptions, "name", "folder", "weights", "level", "batch_size"),
                without="sample_rate",
            ),
            "spectra": _fields(SpectrumOptions, "name", "folder", "batch_size"),
        },
        "codec_fit": {
            "patches": _listed(("num_pictures", "seed")),
            "spectra": _listed(("num_recordings", "seconds", "seed")),
        },
        "codec_loss": {
            "vqgan": _and(
                _arguments(make_codec_objective, given=("vqgan", "discriminator", "distance_fn")),
                *("lpips_weights", "discriminator_channels", "discriminator_layers"),
            ),
            "jukebox": _arguments(make_audio_codec_objective, given=("jukebox", "level")),
        },
        "codec_optimizer": {"": optimizer},
        "codec_train": _codec_train_keys(),
        "condition": {
            **dict.fromkeys(("class", "none"), _listed(("kind", "dropout"))),
            "text": _and(_arguments(text_condition, given=("empty",)), "kind", "dropout"),
            "clip": Keys(
                frozenset({"kind", "dropout", "weights", "merges", "null", "compute_dtype"}),
                strict=True,
            ),
            "dance": _and(
                _arguments(make_dance_condition, given=("dance", "seconds", "null")),
                *("kind", "dropout", *DANCE_PARTS),
            ),
        },
        "schedule": {"": _and(_arguments(mask_replace_schedule, given=("vocab_size",)), "name")},
        "loss": {
            "": _and(
                _arguments(make_objective, given=("schedule", "model", "grid")),
                *("mechanism", "negatives", "num_negatives"),
            )
        },
        "denoiser": {"": _arguments(DenoiserOptions, given=DERIVED)},
        "optimizer": {"": optimizer},
        "train": {
            "": _listed(
                {"seed", "batch_size", "importance_sampling", *TRAIN_HOUSEKEEPING, *STEP_OPTIONS}
            )
        },
        "mesh": {"": _listed((*AXES, "rules", "codec_rules"))},
        "eval": _eval_keys(),
        "sample": {
            "": _arguments(check_sampling, given=("schedule", "model", "num_classes", "label"))
        },
        "prepare": _prepare_keys(),
    }


DERIVED = ("vocab_size", "num_steps", "grid", "condition", "num_classes", "cond_dim", "seconds")
"""Options of the denoiser that follow from other sections."""


def _and(keys: Keys, *needed: str) -> Keys:
    return keys._replace(needed=keys.needed | frozenset(needed))


def _optimizer_keys() -> Keys:
    own = _arguments(make_decaying_optimizer, given=("num_steps", "options"))
    more = _arguments(make_optimizer, given=("num_steps",))
    return Keys(own.needed | more.needed | {"decay"}, own.other | more.other, strict=True)


def _data_keys() -> dict[str, Keys]:
    streams = ("name", "num_threads", "prefetch")
    places = (*streams, "train_split", "test_split", "tokens")
    generated = _listed((*places, "negatives"), "synthetic")
    pictures = {
        name: generated if name in GENERATED else _and(generated, "path") for name in SOURCES
    }
    pictures["imagenet"] = _and(pictures["imagenet"], "class_index")
    pictures["glyphs"] = _and(pictures["glyphs"], "scripts", "num_variants")
    cut = ("seconds", "stride", "test_stride", "test_rest", "train_segments", "test_segments")
    music = _listed((*places, *cut, "video_steps", "intra", "negatives"), "motion", "synthetic")
    groove = ("num_dances", "num_test_dances", "dance_seconds", "dance_seed")
    return {
        "digits": Keys(frozenset(streams), strict=True),
        **pictures,
        "groove": _and(music, *groove),
        "aist": _and(music, "path", "motion", "music", "video"),
        "tiktok": _and(music, "path", "video"),
        SOUND: _listed((*places, "path"), "motion"),
    }


def _prepare_keys() -> dict[str, Keys]:
    common = _arguments(check_options).known
    pictures = Keys(common | _arguments(check_crops).known)
    music = Keys(common | _arguments(WaveformPlan, given=("seconds", "stride")).known)
    return dict.fromkeys(SOURCES, pictures) | dict.fromkeys((*DANCES, SOUND), music)


def _codec_train_keys() -> dict[str, Keys]:
    common = ("seed", "batch_size", *TRAIN_HOUSEKEEPING)
    return {
        "vqgan": _listed((*common, "crop", "flip")),
        "jukebox": _listed((*common, "seconds", "quietest", "start_from")),
    }


def _eval_keys() -> dict[str, Keys]:
    common = ("num_samples", "num_steps", "truncations", "batch_size", "seed")
    return {
        "digits": _listed(common, "num_real"),
        **dict.fromkeys(SOURCES, _listed((*common, "num_real"), *PLACES, "all_captions")),
        **dict.fromkeys(DANCES, _listed((*common, "num_judged"), "num_real")),
        SOUND: _listed(()),
    }
