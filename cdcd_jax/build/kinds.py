"""Of which kind the values of a configuration are."""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from os import PathLike
from textwrap import shorten
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
        noun: What a value must be.
        plural: The same for several.
        holds: Whether a value is of this kind.
    """

    noun: str
    plural: str
    holds: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


WHOLE = Kind("a whole number", "whole numbers", _is_whole)
COUNT = Kind("a whole number of at least 0", "", lambda value: _is_whole(value) and value >= 0)
NUMBER = Kind("a finite number", "finite numbers", _is_finite)
SWITCH = Kind("True or False", "", lambda value: isinstance(value, bool))
TEXT = Kind("a string", "strings", lambda value: isinstance(value, str | PathLike))
RULE = Kind("", "rules", lambda value: True)  # what is in one is checked where it is used


def _or_none(kind: Kind) -> Kind:
    return Kind(f"{kind.noun} or None", "", lambda value: value is None or kind.holds(value))


def _tuple(kind: Kind, length: int | None = None) -> Kind:
    """Make the kind of tuples or lists, of any length unless one is given."""
    number = "" if length is None else f"{length} "

    def holds(value: Any) -> bool:
        return (
            isinstance(value, tuple | list)
            and length in (None, len(value))
            and all(map(kind.holds, value))
        )

    return Kind(f"a tuple of {number}{kind.plural}", "", holds)


def _by_name(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


KINDS: Mapping[str, Kind] = {
    **_by_name(
        WHOLE,
        "batch_size channels checkpoint_every code_dim dance_seed depth dilation_growth "
        "discriminator_channels discriminator_layers discriminator_start ema_every fsdp "
        "genre_width group hidden hop image_size keep_checkpoints latent_dim length level "
        "log_every max_skipped mlp_ratio norm_groups num_bands num_chunks num_codes num_dances "
        "num_heads num_iterations num_judged num_layers num_microbatches num_negatives "
        "num_pictures num_real num_recordings num_res_blocks num_samples num_steps "
        "num_test_dances num_variants overlap patch_size plateau_patience sample_every seed "
        "shard_size shuffles tensor video_steps views vocab_size warmup_steps width",
    ),
    **_by_name(COUNT, "num_threads prefetch"),
    **_by_name(
        _or_none(WHOLE),
        "chains_per_pass clip_steps contrast_steps cooldown_steps decay_steps positions_per_pass "
        "denominator top_k unroll mesh.data sample.num_steps",
    ),
    **_by_name(
        NUMBER,
        "aux_weight b1 b2 clip_norm codebook_decay commitment_weight contrast_weight "
        "dance_seconds discriminator_weight dropout ema_decay end_lr eps final_keep "
        "final_uniform first_keep first_uniform guidance log_spectral_weight lr "
        "perceptual_weight plateau_factor plateau_threshold quietest restart_below seconds "
        "spectral_weight stride temperature test_stride truncation warmup_from waveform_weight "
        "weight_decay",
    ),
    **_by_name(_or_none(NUMBER), "test_rest"),
    **_by_name(SWITCH, "all_captions flip genre importance_sampling synthetic condition.motion"),
    **_by_name(_or_none(SWITCH), "condition.video"),
    **_by_name(
        TEXT,
        "activation attention aux_time_weight chains class_norm compute_dtype "
        "contrast_time_weight crop decay encoder intra kind mechanism mlp name null on_bad "
        "quantizer remat test_split timestep train_split unused loss.negatives",
    ),
    **_by_name(
        _or_none(TEXT),
        "class_index clip_merges clip_weights folder inception_weights lpips_weights merges "
        "motion music negatives path reference resnet_weights start_from test_segments tokens "
        "train_segments used_codes video weights",
    ),
    **_by_name(_tuple(TEXT), "scripts"),
    **_by_name(
        _tuple(WHOLE),
        "attention_resolutions downs multipliers strides condition.channels eval.num_steps",
    ),
    **_by_name(_tuple(WHOLE, 2), "grid patches"),
    **_by_name(_or_none(_tuple(WHOLE, 2)), "embedding_grid"),
    **_by_name(_tuple(NUMBER), "truncations"),
    **_by_name(_tuple(NUMBER, 2), "mask_weight"),
    **_by_name(_tuple(RULE), "codec_rules rules"),
}
"""Kinds by key, or by section and key where a key is of another kind in that section."""


def find_kind(section: str, key: str) -> Kind | None:
    """Find of which kind a value is; None where there is no such key."""
    return KINDS.get(f"{section}.{key}", KINDS.get(key))


def check_kind(section: str, key: str, value: Any) -> None:
    """Raise a ValueError unless a value is of the kind of its key.

    >>> check_kind("train", "batch_size", "16")
    Traceback (most recent call last):
    ...
    ValueError: train.batch_size = '16' must be a whole number
    """
    kind = find_kind(section, key)
    if kind and not kind.holds(value):
        raise ValueError(f"{section}.{key} = {shorten(repr(value), 80)} must be {kind.noun}")
