"""Types and ranges of the values of a configuration."""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from os import PathLike
from textwrap import shorten
from typing import Any, NamedTuple

from cdcd_jax.io import check_local


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
        noun: What a value must be.
        plural: The same for several.
        holds: Whether a value is of this kind.
        fault: What is wrong with a value that is of this kind; empty where it is in range.
    """

    noun: str
    plural: str
    holds: Callable[[Any], bool]
    fault: Callable[[Any], str] = lambda value: ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _whole(low: int, high: int) -> Kind:
    """Make the kind of whole numbers from one to another, both included."""

    def fault(value: Any) -> str:
        if low <= value <= high:
            return ""
        if high == SEED:
            return "must be in 0..2**32-1"
        return f"must be at least {low}" if value < low else f"must be at most {high}"

    return Kind("a whole number", "whole numbers", _is_whole, fault)


def _number(interval: str) -> Kind:
    """Make the kind of finite numbers in an interval.

    >>> _number("(0, 1]").fault(0), _number("[0, 10)").fault(10)
    ('must be in (0, 1]', 'must be below 10')
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    opened, closed = interval[0] == "(", interval[-1] == "]"

    def fault(value: Any) -> str:
        above = value > low if opened else value >= low
        below = value <= high if closed else value < high
        if above and below:
            return ""
        if high <= 1:
            return f"must be in {interval}"
        if above:
            return f"must be {'at most' if closed else 'below'} {high:g}"
        return f"must be {'above' if opened else 'at least'} {low:g}"

    return Kind("a finite number", "finite numbers", _is_finite, fault)


SWITCH = Kind("True or False", "", lambda value: isinstance(value, bool))
TEXT = Kind("a string", "strings", lambda value: isinstance(value, str | PathLike))


def _fault_of_path(value: Any) -> str:
    try:
        check_local(value)
    except ValueError as error:
        return str(error).removeprefix(f"{value} ")
    return ""


FILE = Kind(
    "a path that is not empty",
    "",
    lambda value: TEXT.holds(value) and bool(str(value).strip()),
    _fault_of_path,
)
RULE = Kind("", "rules", lambda value: True)  # what is in one is checked where it is used


def _or_none(kind: Kind) -> Kind:
    return Kind(
        f"{kind.noun} or None",
        "",
        lambda value: value is None or kind.holds(value),
        lambda value: "" if value is None else kind.fault(value),
    )


PLACE = _or_none(FILE)


def _tuple(kind: Kind, length: int | None = None, *, least: int = 0) -> Kind:
    """Make the kind of tuples or lists, of any length up to 64 unless one is given."""
    number = "" if length is None else f"{length} "

    def holds(value: Any) -> bool:
        return (
            isinstance(value, tuple | list)
            and length in (None, len(value))
            and all(map(kind.holds, value))
        )

    def fault(value: Any) -> str:
        if not least <= len(value) <= 64:
            return f"must have {f'at least {least}' if len(value) < least else 'at most 64'} values"
        return next((f"has {each}, which {kind.fault(each)}" for each in value if kind.fault(each)),
                    "")  # fmt: skip

    return Kind(f"a tuple of {number}{kind.plural}", "", holds, fault)


def _by_name(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


SEED, MOST = 2**32 - 1, 2**31 - 1
"""The largest seed, and the largest count: what a signed number of 32 bits holds."""

WHOLES = {
    (0, SEED): "seed dance_seed",
    # Steps cost nothing, nor do limits on how many of what there is are taken; what batches and
    # negatives take is compared with the memory that there is, see ``tasks/memory.py``.
    (1, MOST): "num_steps log_every checkpoint_every keep_checkpoints ema_every shard_size "
    "num_pictures num_recordings batch_size num_negatives sample.num_samples",
    (0, MOST): "sample_every max_skipped warmup_steps plateau_patience discriminator_start "
    "prefetch",
    (2, MOST): "eval.batch_size num_judged",
    (2, 10_000_000): "eval.num_samples num_real",
    (1, 1_000_000): "schedule.num_steps num_microbatches num_dances num_test_dances "
    "num_iterations fsdp tensor",
    (1, 2**20): "width channels hidden discriminator_channels code_dim latent_dim genre_width",
    (2, 2**20): "num_codes vocab_size",
    (1, 2**16): "num_heads group norm_groups length video_steps num_variants mlp_ratio",
    (1, 2**14): "image_size patch_size num_layers num_res_blocks depth dilation_growth views",
    (0, 2**14): "shuffles",
    (2, 2**16): "num_chunks",
    (1, 16): "discriminator_layers",
    (0, 16): "level",
    (0, 1024): "num_threads",
    (16, 2**16): "hop",
    (2, 64): "overlap",
    (8, 2**16): "num_bands",
}
"""Names of whole numbers by the range that they are in, both ends included."""

MAYBE_WHOLES = {
    (1, MOST): "clip_steps contrast_steps cooldown_steps decay_steps denominator chains_per_pass "
    "positions_per_pass",
    (1, 1_000_000): "sample.num_steps mesh.data",
    (1, 2**20): "top_k",
    (1, 2**14): "unroll",
}
"""The same for those that may be None."""

NUMBERS = {
    "[0, 100]": "end_lr warmup_from weight_decay",
    "(0, 1e30]": "clip_norm",
    "(0, 1]": "eps quietest truncation",
    "[0, 1]": "ema_decay",
    "(0, 1)": "final_keep first_keep plateau_factor plateau_threshold",
    "[0, 1)": "b1 b2 codebook_decay dropout final_uniform first_uniform restart_below",
    "[0, 1e6]": "aux_weight commitment_weight contrast_weight discriminator_weight "
    "log_spectral_weight perceptual_weight spectral_weight waveform_weight",
    "(0, 3600]": "dance_seconds seconds stride test_stride",
    "(0, 100]": "lr power",
    "(0, 1000]": "temperature",
    "[0, 1000]": "guidance",
}
"""Names of finite numbers by the interval that they are in."""

KINDS: Mapping[str, Kind] = {
    **{name: _whole(*ends) for ends, names in WHOLES.items() for name in names.split()},
    **{
        name: _or_none(_whole(*ends))
        for ends, names in MAYBE_WHOLES.items()
        for name in names.split()
    },
    **{name: _number(ends) for ends, names in NUMBERS.items() for name in names.split()},
    **_by_name(_or_none(_number("(0, 3600]")), "test_rest"),
    **_by_name(
        SWITCH,
        "all_captions flip genre importance_sampling stratified_timesteps synthetic "
        "condition.motion",
    ),
    **_by_name(_or_none(SWITCH), "condition.video"),
    **_by_name(
        TEXT,
        "activation attention aux_time_weight chains class_norm compute_dtype curve "
        "contrast_time_weight crop decay encoder intra kind mechanism mlp name null on_bad "
        "quantizer remat sampler test_split timestep train_split unused loss.negatives",
    ),
    **_by_name(
        PLACE,
        "class_index clip_merges clip_weights folder inception_weights lpips_weights merges "
        "motion music negatives path reference resnet_weights start_from test_segments tokens "
        "train_segments used_codes video weights",
    ),
    **_by_name(_tuple(TEXT), "scripts"),
    **_by_name(_tuple(_whole(1, 2**14)), "attention_resolutions"),
    **_by_name(_tuple(_whole(1, 64), least=1), "downs multipliers strides"),
    **_by_name(_tuple(_whole(1, 2**20), least=1), "condition.channels"),
    **_by_name(_tuple(_whole(1, 1_000_000), least=1), "eval.num_steps"),
    **_by_name(_tuple(_whole(1, 2**14), 2), "grid patches"),
    **_by_name(_or_none(_tuple(_whole(1, 2**14), 2)), "embedding_grid"),
    **_by_name(_tuple(_number("(0, 1]"), least=1), "truncations"),
    **_by_name(_tuple(TEXT), "metrics"),
    **_by_name(
        Kind(
            "the name of a time grid or a tuple of steps",
            "",
            lambda value: TEXT.holds(value) or _tuple(_whole(0, MOST)).holds(value),
        ),
        "sample.times",
    ),
    **_by_name(_or_none(TEXT), "corrector"),
    # Options of samplers and correctors.
    **_by_name(_number("[0, 1e6]"), "budget choice_temperature purity_weight"),
    **_by_name(_number("[0, 1]"), "remasking"),
    **_by_name(_whole(1, MOST), "num_masked num_passes num_redrawn"),
    **_by_name(_or_none(_whole(1, MOST)), "tokens_per_call"),
    **_by_name(_or_none(_whole(0, MOST)), "skip"),
    **_by_name(SWITCH, "ignore_uniform keep_visible"),
    **_by_name(TEXT, "strategy"),
    **_by_name(_tuple(_number("[0, 1e6]"), 2), "mask_weight"),
    **_by_name(_tuple(RULE), "codec_rules rules"),
}
"""Kinds by key, or by section and key where a key is of another kind in that section."""


def find_kind(section: str, key: str) -> Kind | None:
    """Find of which kind a value is; None where there is no such key."""
    return KINDS.get(f"{section}.{key}", KINDS.get(key))


def check_kind(section: str, key: str, value: Any) -> None:
    """Raise a ValueError unless a value is of the kind of its key, and in its range.

    >>> check_kind("train", "batch_size", "16")
    Traceback (most recent call last):
    ...
    ValueError: train.batch_size = '16' must be a whole number
    >>> check_kind("optimizer", "lr", 0.0)
    Traceback (most recent call last):
    ...
    ValueError: optimizer.lr = 0.0 must be above 0
    """
    kind = find_kind(section, key)
    if kind is None:
        return
    fault = kind.fault(value) if kind.holds(value) else f"must be {kind.noun}"
    if fault:
        raise ValueError(f"{section}.{key} = {shorten(repr(value), 80)} {fault}")
