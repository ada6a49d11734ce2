"""Split sets of examples into batches, and those among hosts."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm


def even_batches(
    total: int, batch_size: int, title: str, progress: bool
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Yield this host's batches of a set, all of one size, to be compiled for once.

    Args:
        total: Size of the set.
        batch_size: Examples at once.
        title: What the progress bar says.
        progress: Whether to show one.

    Yields:
        The batch's number among those of all hosts; indices [batch_size], which go on at the start
        of the set after its end; and how many of them are new.

    >>> [(at.tolist(), count) for _, at, count in even_batches(3, 2, "examples", False)]
    [([0, 1], 2), ([2, 0], 1)]
    """
    own = range(jax.process_index(), -(-total // batch_size), jax.process_count())
    for index in tqdm(own, desc=title, unit="batch", disable=not progress):
        start = index * batch_size
        yield index, np.arange(start, start + batch_size) % total, min(batch_size, total - start)


def own_share(total: int, batch_size: int) -> int:
    """Count the examples of this host's batches.

    >>> own_share(3, 2)
    3
    """
    return sum(
        min(batch_size, total - index * batch_size)
        for index in range(jax.process_index(), -(-total // batch_size), jax.process_count())
    )


def apply_in_batches(function: Callable[[np.ndarray], Any], batch_size: int) -> Callable[..., Any]:
    """Apply a function to arrays of any length, always to as many rows, to compile it once.

    Args:
        function: Rows [batch_size ...] -> a tree of arrays [batch_size ...].
        batch_size: Rows at once; what is missing in the last batch is filled with rows again.

    Returns:
        ``apply(rows, title=None) -> a tree of NumPy arrays``; with a title, a progress bar.

    >>> apply_in_batches(lambda rows: 2 * rows, 2)(np.arange(3)).tolist()
    [0, 2, 4]
    """

    def apply(rows: np.ndarray, title: str | None = None) -> Any:
        parts = []
        starts = range(0, len(rows), batch_size)
        for start in tqdm(starts, desc=title, unit="batch", disable=title is None):
            part = rows[start : start + batch_size]
            padded = np.resize(part, (batch_size, *part.shape[1:]))
            parts.append(jax.tree.map(np.asarray, function(padded)))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(rows)], *parts)

    return apply
