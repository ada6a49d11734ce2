"""Examples and batches, and checks of their shapes and values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np


class Batch(TypedDict):
    """One batch as NumPy arrays; the training step takes it as it is.

    Attributes:
        tokens: [batch length] int32, values 0..K-1.
        cond: What the example is generated from; class labels are [batch] int32, a dance is arrays
            [batch ...] by name.
        negatives: [batch num_neg length] int32, values 0..K-1; present only for inter negatives.
        intra_negatives: The same, for intra negatives that were made before encoding; where they
            are made of tokens, the training step does it.
    """

    tokens: np.ndarray
    cond: Any
    negatives: NotRequired[np.ndarray]
    intra_negatives: NotRequired[np.ndarray]


@runtime_checkable
class Examples(Protocol):
    """A tokenised data set that is read by index, from memory or from disk."""

    @property
    def cond(self) -> Any:
        """What each example is generated from: [examples ...], or several such by name."""
        ...

    @property
    def group(self) -> np.ndarray:
        """Groups [examples] int; two examples of one group are never each other's negatives."""
        ...

    @property
    def length(self) -> int:
        """Number of token positions of every example."""
        ...

    def __len__(self) -> int:
        """Count the examples."""
        ...

    def draw_cond(self, indices: np.ndarray, rng: np.random.Generator, /) -> Any:
        """Return rows of ``cond`` to train on; an example with several captions draws one."""
        ...

    def take(self, indices: np.ndarray, /) -> np.ndarray:
        """Read the tokens of some examples: int32 [*indices.shape length], values 0..K-1."""
        ...


@dataclass(frozen=True, kw_only=True)
class TokenExamples:
    """A tokenised data set in memory, one row per example.

    Attributes:
        tokens: [examples length] int32, values 0..K-1.
        cond: [examples ...] what each example is generated from, e.g. class labels; or several
            such arrays by name.
        group: [examples] int; examples of one group are never each other's inter negatives. The
            class for digits, the image for captions, the genre for music.

    Raises:
        ValueError: If the arrays do not have one row per example each.
    """

    tokens: np.ndarray
    cond: Any
    group: np.ndarray

    def __post_init__(self):
        if self.tokens.ndim != 2 or not np.issubdtype(self.tokens.dtype, np.integer):
            raise ValueError(
                "tokens must be integers of shape [examples, length], "
                f"got {self.tokens.dtype} {self.tokens.shape}"
            )
        if self.group.ndim != 1 or not np.issubdtype(self.group.dtype, np.integer):
            raise ValueError(
                "group must be integers of shape [examples], "
                f"got {self.group.dtype} {self.group.shape}"
            )
        cond = self.cond if isinstance(self.cond, Mapping) else {"cond": self.cond}
        for name, array in {**cond, "group": self.group}.items():
            if array.shape[:1] != (len(self.tokens),):
                raise ValueError(
                    f"{name} must have one row for each of the {len(self.tokens)} examples, "
                    f"got shape {array.shape}"
                )

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.tokens)

    @property
    def length(self) -> int:
        """Number of token positions of every example."""
        return self.tokens.shape[1]

    def draw_cond(self, indices: np.ndarray, rng: np.random.Generator, /) -> Any:
        """Return the examples' rows of ``cond``; there is nothing to draw."""
        return take_rows(self.cond, indices)

    def take(self, indices: np.ndarray, /) -> np.ndarray:
        """Read the tokens of some examples.

        Args:
            indices: Numbers of examples, 0..len-1, in an array of any shape.

        Returns:
            A copy, int32 [*indices.shape length].

        >>> rows = np.array([[5, 6], [7, 8]])
        >>> examples = TokenExamples(tokens=rows, cond=np.arange(2), group=np.arange(2))
        >>> examples.take(np.array([1, 0, 1])).tolist()
        [[7, 8], [5, 6], [7, 8]]
        """
        return self.tokens[indices].astype(np.int32, copy=False)


def take_rows(cond: Any, rows: Any) -> Any:
    """Take rows of a condition: one array, or several by name.

    >>> take_rows({"genre": np.array([4, 5, 6])}, np.array([2, 0]))
    {'genre': array([6, 4])}
    """
    if isinstance(cond, Mapping):
        return {name: take_rows(array, rows) for name, array in cond.items()}
    return cond[rows]


def check_tokens(tokens: np.ndarray, *, vocab_size: int, name: str = "tokens") -> None:
    """Check that an array holds int32 tokens of the vocabulary.

    Args:
        tokens: Array of any shape, in the host's memory.
        vocab_size: K, the number of real tokens; the mask (id K) is not data.
        name: What the array is called in the message.

    Raises:
        ValueError: If the type is not int32 or a value is outside 0..K-1.

    >>> check_tokens(np.array([[0, 16]], np.int32), vocab_size=17)
    >>> check_tokens(np.array([[0, 17]], np.int32), vocab_size=17)
    Traceback (most recent call last):
    ValueError: tokens must be in 0..16 (vocab_size 17), found 17
    """
    if tokens.dtype != np.int32:
        raise ValueError(f"{name} must be int32, got {tokens.dtype}")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= vocab_size):
        bad = tokens.min() if tokens.min() < 0 else tokens.max()
        raise ValueError(
            f"{name} must be in 0..{vocab_size - 1} (vocab_size {vocab_size}), found {bad}"
        )


def check_batch(
    batch: Batch | Mapping[str, Any], *, vocab_size: int, length: int, num_negatives: int = 0
) -> None:
    """Check a batch's keys, shapes, types and token values.

    It reads every value on the host, so it is meant for the first batch and for tests, not for
    every step.

    Args:
        batch: The batch.
        vocab_size: K, the number of real tokens.
        length: Number of token positions.
        num_negatives: N that the loss expects; 0 where negatives are made on the device or unused.

    Raises:
        ValueError: If something does not fit; the sentence names the key.

    >>> batch = {"tokens": np.zeros((2, 4), np.int32), "cond": np.array([0, 1], np.int32)}
    >>> check_batch(batch, vocab_size=3, length=4)
    >>> check_batch(batch, vocab_size=3, length=4, num_negatives=5)
    Traceback (most recent call last):
    ValueError: the batch holds no "negatives", but the loss expects 5 for each example
    """
    for key in ("tokens", "cond"):
        if key not in batch:
            raise ValueError(f'the batch holds no "{key}", only {sorted(batch)}')
    tokens = batch["tokens"]
    if tokens.ndim != 2 or tokens.shape[1] != length:
        raise ValueError(f"tokens must have shape [batch, {length}], got {tokens.shape}")
    check_tokens(tokens, vocab_size=vocab_size)
    cond = batch["cond"]
    for array in cond.values() if isinstance(cond, Mapping) else (cond,):
        if array.shape[:1] != tokens.shape[:1]:
            raise ValueError(
                f"cond must have one row for each of the {len(tokens)} examples, "
                f"got shape {array.shape}"
            )
    if num_negatives == 0 and "negatives" not in batch:
        return
    if "negatives" not in batch:
        raise ValueError(
            f'the batch holds no "negatives", but the loss expects {num_negatives} for each example'
        )
    negatives = batch["negatives"]
    expected = (len(tokens), num_negatives, length)
    if negatives.shape != expected:
        raise ValueError(f"negatives must have shape {expected}, got {negatives.shape}")
    check_tokens(negatives, vocab_size=vocab_size, name="negatives")
