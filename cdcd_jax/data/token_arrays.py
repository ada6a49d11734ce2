"""Token arrays in plain ``.npy`` files."""

import hashlib
from pathlib import Path

import numpy as np

from cdcd_jax.reading.arrays import read_npy
from cdcd_jax.reading.regular import read_text

TRAIN_LABELS = "train_labels.npy"
"""The file that says that there are classes."""


def read_tokens(folder: Path, split: str) -> np.ndarray:
    """Map the tokens of a split into memory.

    Args:
        folder: Holds ``train.npy`` and ``test.npy``.
        split: ``"train"`` or ``"test"``.

    Returns:
        Integers [examples length] or [examples rows columns].

    Raises:
        ValueError: If the file is damaged, or holds something else.
        OSError: If it is not there.
    """
    path = folder / f"{split}.npy"
    tokens = read_npy(path, mapped=True)
    if tokens.ndim not in (2, 3) or tokens.dtype.kind not in "iu" or not tokens.size:
        raise ValueError(
            f"{path} must hold integers [examples, length] or [examples, rows, columns], it holds "
            f"{tokens.dtype} {tokens.shape}"
        )
    return tokens


def read_labels(folder: Path, split: str, count: int) -> np.ndarray:
    """Read the class of each example.

    Args:
        folder: Holds ``train_labels.npy`` and ``test_labels.npy``.
        split: ``"train"`` or ``"test"``.
        count: Number of examples.

    Returns:
        int32 [examples], none of them negative.

    Raises:
        ValueError: If they are of another shape or type.
        OSError: If the file is not there.
    """
    path = folder / f"{split}_labels.npy"
    labels = read_npy(path)
    whole = labels.shape == (count,) and labels.dtype.kind in "iu"
    if not whole or not 0 <= labels.min() <= labels.max() < 2**20:
        raise ValueError(
            f"{path} must hold a whole number of at least 0 for each of the {count} examples, it "
            f"holds {labels.dtype} {labels.shape}"
        )
    return labels.astype(np.int32)


def read_class_names(folder: Path, num_classes: int) -> tuple[str, ...]:
    """Read the name of each class from ``class_names.txt``; their numbers without such a file.

    Args:
        folder: Where the file is.
        num_classes: As many as the labels need.

    Raises:
        ValueError: If there are fewer names.
    """
    path = folder / "class_names.txt"
    if not path.exists():
        return tuple(str(number) for number in range(num_classes))
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if len(names) < num_classes:
        raise ValueError(f"{path} names {len(names)} classes, and the labels need {num_classes}")
    return names


def digest_arrays(*arrays: np.ndarray) -> str:
    """Return a text that changes with arrays.

    >>> digest_arrays(np.arange(3)) == digest_arrays(np.arange(4))
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        for start in range(0, len(array), 2**16):
            digest.update(np.ascontiguousarray(array[start : start + 2**16]).tobytes())
    return digest.hexdigest()
