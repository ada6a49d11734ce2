"""Which sections and keys a configuration has.

Keys of a section that one constructor takes are that constructor's arguments. Keys that are read
one by one are listed here; a test compares them with the base configurations.
"""

from cdcd_jax.conditioning.condition import text_condition
from cdcd_jax.data.dance.views import WaveformPlan
from cdcd_jax.data.shards.prepare_options import check_crops, check_options
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.distributed.mesh import AXES
from cdcd_jax.experiment.step import STEP_OPTIONS
from cdcd_jax.models.options import DenoiserOptions
from cdcd_jax.registry import CODECS
from cdcd_jax.settings.keys import Keys, argument_keys
from cdcd_jax.settings.sections import TRAIN_MUTABLE_KEYS, make_decaying_optimizer
from cdcd_jax.tasks.conditions import DANCE_PARTS, make_dance_condition
from cdcd_jax.tasks.images import GENERATED, SOURCES
from cdcd_jax.tasks.music import DANCES, SOUND
from cdcd_jax.tasks.scoring import PLACES
from cdcd_jax.training.generation import check_sampling
from cdcd_jax.training.objective import make_objective
from cdcd_jax.training.optimizer import make_optimizer

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
        **{section: _codec_keys(section) for section in ("codec", "codec_fit", "codec_loss")},
        "codec_optimizer": {"": optimizer},
        "codec_train": _codec_keys("codec_train"),
        "condition": {
            **dict.fromkeys(("class", "none"), Keys.of("kind", "dropout")),
            "text": argument_keys(text_condition, given=("empty",)).and_needed("kind", "dropout"),
            "clip": Keys(
                frozenset({"kind", "dropout", "weights", "merges", "null", "compute_dtype"}),
                strict=True,
            ),
            "dance": argument_keys(
                make_dance_condition, given=("dance", "seconds", "null")
            ).and_needed("kind", "dropout", *DANCE_PARTS),
        },
        "schedule": {
            "": argument_keys(mask_replace_schedule, given=("vocab_size",)).and_needed("name")
        },
        "loss": {
            "": argument_keys(make_objective, given=("schedule", "model", "grid")).and_needed(
                "mechanism", "negatives", "num_negatives"
            )
        },
        "denoiser": {"": argument_keys(DenoiserOptions, given=DERIVED)},
        "optimizer": {"": optimizer},
        "train": {
            "": Keys.of(
                *("seed", "batch_size", "importance_sampling"), *TRAIN_MUTABLE_KEYS, *STEP_OPTIONS
            )
        },
        "mesh": {"": Keys.of(*AXES, "rules", "codec_rules")},
        "eval": _eval_keys(),
        "sample": {
            "": argument_keys(check_sampling, given=("schedule", "model", "num_classes", "label"))
        },
        "prepare": _prepare_keys(),
    }


DERIVED = ("vocab_size", "num_steps", "grid", "condition", "num_classes", "cond_dim", "seconds")
"""Options of the denoiser that follow from other sections."""


def _optimizer_keys() -> Keys:
    own = argument_keys(make_decaying_optimizer, given=("num_steps", "options"))
    more = argument_keys(make_optimizer, given=("num_steps",))
    return Keys(own.needed | more.needed | {"decay"}, own.other | more.other, strict=True)


def _data_keys() -> dict[str, Keys]:
    streams = ("name", "num_threads", "prefetch")
    places = (*streams, "train_split", "test_split", "tokens")
    generated = Keys.of(*places, "negatives", other=("synthetic",))
    pictures = {
        name: generated if name in GENERATED else generated.and_needed("path") for name in SOURCES
    }
    pictures["imagenet"] = pictures["imagenet"].and_needed("class_index")
    pictures["glyphs"] = pictures["glyphs"].and_needed("scripts", "num_variants")
    cut = ("seconds", "stride", "test_stride", "test_rest", "train_segments", "test_segments")
    music = Keys.of(
        *(*places, *cut, "video_steps", "intra", "negatives"), other=("motion", "synthetic")
    )
    groove = ("num_dances", "num_test_dances", "dance_seconds", "dance_seed")
    return {
        "digits": Keys.of(*streams, strict=True),
        **pictures,
        "groove": music.and_needed(*groove),
        "aist": music.and_needed("path", "motion", "music", "video"),
        "tiktok": music.and_needed("path", "video"),
        SOUND: Keys.of(*places, "path", other=("motion",)),
    }


def _prepare_keys() -> dict[str, Keys]:
    common = argument_keys(check_options).known
    pictures = Keys(common | argument_keys(check_crops).known)
    music = Keys(common | argument_keys(WaveformPlan, given=("seconds", "stride")).known)
    return dict.fromkeys(SOURCES, pictures) | dict.fromkeys((*DANCES, SOUND), music)


def _codec_keys(section: str) -> dict[str, Keys]:
    return {name: codec.keys[section] for name, codec in CODECS.items() if section in codec.keys}


def _eval_keys() -> dict[str, Keys]:
    common = ("num_samples", "num_steps", "truncations", "batch_size", "seed")
    return {
        "digits": Keys.of(*common, other=("num_real",)),
        **dict.fromkeys(SOURCES, Keys.of(*common, "num_real", other=(*PLACES, "all_captions"))),
        **dict.fromkeys(DANCES, Keys.of(*common, "num_judged", other=("num_real",))),
        SOUND: Keys(),
    }
