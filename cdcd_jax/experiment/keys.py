"""The sections and keys of a configuration.

Keys of a section that one constructor takes are that constructor's arguments. Keys that are read
one by one are listed here; a test compares them with the base configurations.
"""

from cdcd_jax.diffusion.samplers.sample import option_names
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.distributed.mesh import AXES
from cdcd_jax.experiment.step import STEP_OPTIONS
from cdcd_jax.models.options import DenoiserOptions
from cdcd_jax.registry import CODECS, CONDITIONS, CORRECTORS, SAMPLERS, SOURCES
from cdcd_jax.settings.keys import Keys, argument_keys
from cdcd_jax.settings.sections import TRAIN_MUTABLE_KEYS, make_decaying_optimizer
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
        "data": {
            name: entry.tasks[0].data_keys.and_needed(*entry.keys)
            for name, entry in SOURCES.items()
        },
        **{section: _codec_keys(section) for section in ("codec", "codec_fit", "codec_loss")},
        "codec_optimizer": {"": optimizer},
        "codec_train": _codec_keys("codec_train"),
        "condition": {name: entry.keys for name, entry in CONDITIONS.items()},
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
        "eval": {name: entry.tasks[0].eval_keys for name, entry in SOURCES.items()},
        "sample": {
            "": argument_keys(check_sampling, given=REQUESTED).and_other(
                *(name for sampler in SAMPLERS for name in option_names(sampler)),
                *(name for corrector in CORRECTORS for name in option_names(None, corrector)),
            )
        },
        "prepare": {name: entry.tasks[0].prepare_keys for name, entry in SOURCES.items()},
    }


REQUESTED = ("schedule", "model", "negative", "reward", "num_particles")
"""Arguments of a request for samples that no configuration has."""

DERIVED = ("vocab_size", "num_steps", "grid", "condition", "num_classes", "cond_dim", "seconds")
"""Options of the denoiser that follow from other sections."""


def _optimizer_keys() -> Keys:
    own = argument_keys(make_decaying_optimizer, given=("num_steps", "options"))
    more = argument_keys(make_optimizer, given=("num_steps",))
    return Keys(own.needed | more.needed | {"decay"}, own.other | more.other, strict=True)


def _codec_keys(section: str) -> dict[str, Keys]:
    return {name: codec.keys[section] for name, codec in CODECS.items() if section in codec.keys}
