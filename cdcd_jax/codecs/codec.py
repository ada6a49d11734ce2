"""The interface of a codec, and checks of its inputs."""

from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Codec(Protocol):
    """A frozen, deterministic map from data to tokens and back.

    The diffusion uses only the tokens, never the raw data.
    """

    @property
    def vocab_size(self) -> int:
        """Number K of real tokens, without the mask."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens, row-major; a sequence is (1, length)."""
        ...

    def encode(self, data: Any, /) -> Any:
        """Turn a batch of data into int32 tokens [batch length], values 0..K-1."""
        ...

    def decode(self, tokens: Any, /) -> Any:
        """Turn tokens [batch length], values 0..K-1, into a batch of data."""
        ...


def check_images(shape: tuple[int, ...], size: int) -> None:
    """Raise a ValueError unless a batch has square RGB images of a size.

    >>> check_images((1, 8, 9, 3), 8)
    Traceback (most recent call last):
    ValueError: images must be 8 x 8 RGB, got (8, 9, 3)
    """
    if shape[1:] != (size, size, 3):
        raise ValueError(f"images must be {size} x {size} RGB, got {shape[1:]}")


def check_window(shape: tuple[int, ...], length: int, hop: int) -> None:
    """Raise a ValueError unless a batch has windows of so many tokens, each of so many samples.

    >>> check_window((1, 7), 2, 4)
    Traceback (most recent call last):
    ValueError: a window must have 8 samples, 2 tokens of 4, but it has 7
    """
    if shape[1] != length * hop:
        raise ValueError(
            f"a window must have {length * hop} samples, {length} tokens of {hop}, "
            f"but it has {shape[1]}"
        )


def check_codes(tokens: np.ndarray, grid: tuple[int, int], vocab_size: int) -> None:
    """Raise a ValueError unless every image has its tokens, each 0..vocab_size-1.

    >>> check_codes(np.array([[0, 9]]), (1, 2), 9)
    Traceback (most recent call last):
    ValueError: tokens must have values 0..8, got 0..9
    """
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            f"tokens must be integers [batch length], got {tokens.dtype} of shape {tokens.shape}"
        )
    if tokens.shape[1] != grid[0] * grid[1]:
        raise ValueError(f"an image has {grid[0]} x {grid[1]} tokens, got {tokens.shape[1]}")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise ValueError(
            f"tokens must have values 0..{vocab_size - 1}, got {tokens.min()}..{tokens.max()}"
        )
