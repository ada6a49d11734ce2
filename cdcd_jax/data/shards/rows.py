"""Arrays with one row per piece of music, stored in several files and read by index."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cdcd_jax.data.shards.manifest import AGAIN
from cdcd_jax.reading.arrays import read_npy


class ShardRows:
    """Rows of an array that is stored in several memory-mapped files.

    Args:
        paths: ``.npy`` files; what follows the first axis has the same shape in all.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rows.npy"
    >>> np.save(path, np.arange(6).reshape(3, 2))
    >>> ShardRows([path, path])[np.array([4, 0])].tolist()
    [[2, 3], [0, 1]]
    """

    def __init__(self, paths: Sequence[Path]):
        self._parts = [_map(path) for path in paths]
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.dtype = self._parts[0].dtype
        self.shape = (int(self._ends[-1]), *self._parts[0].shape[1:])

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, index: np.ndarray, /) -> np.ndarray:
        """Copy some rows: [*index.shape ...]."""
        flat = np.asarray(index).ravel()
        if flat.size and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"rows are 0..{len(self) - 1}, got {flat.min()}..{flat.max()}")
        found = np.empty((len(flat), *self.shape[1:]), self.dtype)
        where = np.searchsorted(self._ends, flat, side="right")
        for number in np.unique(where):
            part, chosen = self._parts[number], where == number
            found[chosen] = part[flat[chosen] - (self._ends[number] - len(part))]
        return found.reshape(*np.shape(index), *self.shape[1:])


def _map(path: Path) -> np.ndarray:
    try:
        return read_npy(path, mapped=True)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and {AGAIN}") from error
