"""Transfer of arrays to a new run: which are taken, adapted or new."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

STEPS = ("self_norm/table/embedding", "cross_norm/table/embedding")
"""Ends of the names of the tables [layers T width] of scales and shifts by timestep."""

CLASSES = "mlp_norm/table/embedding"
"""End of the name of the table [layers classes width] of scales and shifts by class."""

REASONS = {
    CLASSES: "other classes",
    "embedding/token/embedding": "another number of codes",
    "to_logits/kernel": "another number of codes",
    "to_logits/bias": "another number of codes",
    "embedding/height/embedding": "another grid, see denoiser.embedding_grid",
    "embedding/column/embedding": "another grid, see denoiser.embedding_grid",
}
"""Why an array may be of another shape, by the end of its name."""


class Taken(NamedTuple):
    """The arrays that a fresh run takes.

    Attributes:
        arrays: By name, of the shapes that the run needs.
        adapted: A sentence on each array that was changed to fit.
        new: A sentence on each array of the run that starts from random numbers.
        unused: Names of the arrays that the run has no place for.
    """

    arrays: dict[str, np.ndarray]
    adapted: list[str]
    new: list[str]
    unused: list[str]


def take_arrays(
    theirs: Mapping[str, np.ndarray],
    ours: Mapping[str, Any],
    *,
    num_classes: int,
    null_class: bool = False,
) -> Taken:
    """Transfer arrays of the same name and shape, and adapt others where possible.

    A table by timestep of another T is interpolated at equal shares of the way from data to noise,
    at which the published noise schedules are alike. A table by class that has one row more or
    less, for no class, keeps its classes.

    Args:
        theirs: Arrays by name.
        ours: Anything with a shape, by the names that the run needs.
        num_classes: Classes of the run's data.
        null_class: Whether the last row of their class table is the null class.

    Returns:
        What is taken.

    >>> tables = {"blocks/self_norm/table/embedding": np.float32([[[1.0], [3.0]]])}
    >>> shapes = {"blocks/self_norm/table/embedding": np.zeros((1, 4, 1))}
    >>> taken = take_arrays(tables, shapes, num_classes=0)
    >>> taken.arrays["blocks/self_norm/table/embedding"].ravel().tolist()
    [1.0, 1.0, 2.0, 3.0]
    >>> taken.adapted
    ['blocks/self_norm/table/embedding: resampled from 2 to 4 steps']
    """
    arrays: dict[str, np.ndarray] = {}
    adapted: list[str] = []
    new: list[str] = []
    for name, wanted in ours.items():
        shape = tuple(wanted.shape)
        if name not in theirs:
            new.append(f"{name} {list(shape)}: there is none")
            continue
        array = theirs[name]
        by_class = name.endswith(CLASSES) and _differ_in_rows(array.shape, shape)
        same_classes = by_class and array.shape[1] - null_class == num_classes
        if array.shape == shape and (same_classes or not by_class):
            arrays[name] = array
        elif _differ_in_rows(array.shape, shape) and name.endswith(STEPS):
            arrays[name] = _resample(array, shape[1])
            adapted.append(f"{name}: resampled from {array.shape[1]} to {shape[1]} steps")
        elif same_classes:
            arrays[name] = _with_classes(array, shape[1])
            rest = (
                "their mean for no class" if shape[1] > array.shape[1] else "not that of no class"
            )
            adapted.append(f"{name}: the rows of its {num_classes} classes, and {rest}")
        else:
            reason = next((why for end, why in REASONS.items() if name.endswith(end)), "")
            because = f" ({reason})" if reason else ""
            new.append(f"{name}: {list(array.shape)} there, {list(shape)} here{because}")
    return Taken(arrays, adapted, new, sorted(theirs.keys() - ours.keys()))


def _differ_in_rows(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Return whether two tables [layers rows width] are alike but for the number of rows."""
    return len(theirs) == len(ours) == 3 and theirs[::2] == ours[::2]


def _resample(table: np.ndarray, num_steps: int) -> np.ndarray:
    """Interpolate [layers T width] linearly: step t of T' is step t T / T' of T, at least 1."""
    old = table.shape[1]
    at = np.clip(np.arange(1, num_steps + 1) * old / num_steps, 1, old) - 1  # rows count from 0
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, old - 1)
    share = (at - low)[:, None]
    return ((1 - share) * table[:, low] + share * table[:, high]).astype(table.dtype)


def _with_classes(table: np.ndarray, num_rows: int) -> np.ndarray:
    """Drop the last row, that of no class, or add one."""
    if num_rows < table.shape[1]:
        return table[:, :num_rows]
    return np.concatenate([table, table.mean(axis=1, keepdims=True)], axis=1)
