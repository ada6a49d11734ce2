"""Batches of examples, and their division among hosts."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from cdcd_jax.codecs.batching import device_shares
from cdcd_jax.io import is_first_host
from cdcd_jax.typing import Params


class Share(NamedTuple):
    """The examples of a set that a host evaluates: the same rows of every batch.

    Attributes:
        total: Examples in the set.
        batch_size: Examples in a batch, of all hosts together.
        first: First of the host's rows of a batch.
        last: The one behind its last.

    >>> share = Share(total=10, batch_size=4, first=2, last=4)
    >>> share.num_own, share.places(0, share.num_own).tolist(), share.of_batch(2).tolist()
    (4, [2, 3, 6, 7], [])
    """

    total: int
    batch_size: int
    first: int
    last: int

    @property
    def num_own(self) -> int:
        """Count the host's examples."""
        batches, rest = divmod(self.total, self.batch_size)
        width = self.last - self.first
        return batches * width + min(max(rest - self.first, 0), width)

    @property
    def rows(self) -> slice:
        """The host's rows of a batch."""
        return slice(self.first, self.last)

    def of_batch(self, index: int) -> np.ndarray:
        """Number the host's examples of a batch; those that the last batch lacks are left out."""
        start = index * self.batch_size
        return np.arange(start + self.first, max(min(start + self.last, self.total), 0))

    def places(self, first: int, count: int) -> np.ndarray:
        """Number some of the host's examples in the set, by when they come in its stream."""
        batch, row = np.divmod(np.arange(first, first + count), max(self.last - self.first, 1))
        return batch * self.batch_size + self.first + row


def own_share(total: int, batch_size: int) -> Share:
    """Return this host's share of a set.

    >>> own_share(3, 2)
    Share(total=3, batch_size=2, first=0, last=2)
    """
    width = -(-batch_size // jax.process_count())
    first = min(jax.process_index() * width, batch_size)
    return Share(total, batch_size, first, min(first + width, batch_size))


def even_batches(
    total: int, batch_size: int, title: str, progress: bool
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Yield the batches of a set, all of one size, to be compiled for once; all hosts get the same.

    Args:
        total: Size of the set.
        batch_size: Examples at once.
        title: What the progress bar says.
        progress: Whether to show one.

    Yields:
        The batch's number; indices [batch_size], which continue at the start of the set after its
        end; and how many of them are new.

    >>> [(at.tolist(), count) for _, at, count in even_batches(3, 2, "examples", False)]
    [([0, 1], 2), ([2, 0], 1)]
    """
    numbers = range(-(-total // batch_size))
    hidden = not progress or not is_first_host()
    for index in tqdm(numbers, desc=title, unit="batch", disable=hidden):
        start = index * batch_size
        yield index, np.arange(start, start + batch_size) % total, min(batch_size, total - start)


def apply_in_batches(
    function: Callable[[Params, Any], Any], params: Params, batch_size: int
) -> Callable[..., Any]:
    """Apply a network to arrays of any length, always to as many rows, to compile it once.

    This host's devices share the rows. Hosts need not do the same at the same time.

    Args:
        function: Parameters and rows [size ...] -> a tree of arrays [size ...].
        params: Its parameters.
        batch_size: Rows at once, on all hosts together, of which each has its part; what does not
            fill the devices is filled up with rows again.

    Returns:
        ``apply(rows, title=None) -> a tree of NumPy arrays``; with a title, a progress bar.

    >>> double = apply_in_batches(lambda params, rows: params["two"] * rows, {"two": 2}, 2)
    >>> double(np.arange(3)).tolist()
    [0, 2, 4]
    """
    unit = jax.process_count() * jax.local_device_count()
    size = -(-batch_size // unit) * jax.local_device_count()
    rows_sharding, everywhere = device_shares(size)
    params, compiled = jax.device_put(params, everywhere), jax.jit(function)

    def apply(rows: np.ndarray, title: str | None = None) -> Any:
        parts = []
        starts = range(0, len(rows), size)
        hidden = title is None or not is_first_host()
        for start in tqdm(starts, desc=title, unit="batch", disable=hidden):
            part = rows[start : start + size]
            padded = np.resize(part, (size, *part.shape[1:]))
            made = compiled(params, jax.device_put(padded, rows_sharding))
            parts.append(jax.tree.map(np.asarray, made))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(rows)], *parts)

    return apply
