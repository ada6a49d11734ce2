"""The tokens of an experiment, or random ones in their place."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.data.batch import Examples, TokenExamples
from cdcd_jax.data.images.captioned import Captions
from cdcd_jax.data.negative_lists import read_entries
from cdcd_jax.data.negatives import Negatives
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codecs import codec_shape
from cdcd_jax.tasks.places import Places


@dataclass(frozen=True, kw_only=True)
class TokenData:
    """Tokens and their metadata.

    Attributes:
        codec: Between tokens and data.
        train: The training set.
        test: The held-out set.
        class_names: Name of each class.
        fingerprint: What the tokens depend on; empty where the configuration says it all.
        train_captions: The training set's captions, if images have some.
        test_captions: The held-out set's.
        others: Where inter negatives are drawn from, if a file says so.
        own: Where intra negatives are drawn from, if they were made before encoding.
        fps: Frames of motion per second, where no dances are at hand that say it.
    """

    codec: Codec
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    fingerprint: str = ""
    train_captions: Captions | None = None
    test_captions: Captions | None = None
    others: Negatives | None = None
    own: Negatives | None = None
    fps: float | None = None


def open_tokens(config: Any, places: Places, split: str, fingerprint: str) -> TokenShards:
    """Open the tokens of a split, which must be of the codec with this fingerprint."""
    folder = places.tokens / split
    shards = make_section(config, "data", TokenShards, folder, fingerprint=fingerprint)
    make_section(config, "data", shards.check)
    return shards


def check_classes(train: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Raise a ValueError unless both splits number the same classes alike."""
    if train != test:
        raise ValueError(
            f"the training and the test images have different classes ({len(train)} and "
            f"{len(test)} of them); both splits must have the same folders"
        )


def check_listed(config: Any) -> None:
    """Check the file that lists negatives, if there is one, before there are tokens."""
    if config.data.negatives is None:
        return
    path = Path(config.data.negatives)
    if not path.is_file():
        raise ValueError(f"data.negatives = {path} is not a file")
    make_section(config, "data", read_entries, path)


def two_of_each(num_classes: int) -> np.ndarray:
    """Label two examples of each class, or of two where there are no classes."""
    return np.tile(np.arange(num_classes or 2, dtype=np.int32), 2)


def random_tokens(
    config: Any,
    cond: Any,
    group: np.ndarray,
    class_names: tuple[str, ...],
    captions: Captions | None = None,
    **options: Any,
) -> TokenData:
    """Stand in for tokens with some that mean nothing, of the codec's shape.

    Args:
        config: The whole configuration; the section ``codec`` is read here.
        cond: What the examples are generated from.
        group: Group of each example.
        class_names: Names of the classes, if there are any.
        captions: Captions of the examples, if they have any.
        **options: More of ``TokenData``.

    Returns:
        The same examples for training and test.
    """
    vocab_size, grid = codec_shape(config)
    shape = (len(group), math.prod(grid))
    tokens = np.random.default_rng(0).integers(0, vocab_size, shape, dtype=np.int32)
    examples = TokenExamples(tokens=tokens, cond=cond, group=group)
    return TokenData(
        codec=PixelCodec(vocab_size=vocab_size, grid=grid),
        train=examples,
        test=examples,
        class_names=class_names,
        train_captions=captions,
        test_captions=captions,
        **options,
    )
