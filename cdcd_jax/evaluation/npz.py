"""Archives of NumPy arrays, read and written a few rows at a time."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cdcd_jax.reading.arrays import BinaryFile, fill, open_array


def stream_rows(path: Path, name: str, batch_size: int) -> Iterator[np.ndarray]:
    """Read an array of an archive some rows at a time, so that it need not fit into memory.

    Args:
        path: The archive.
        name: Name of the array.
        batch_size: Rows at once; the last may be fewer.

    Yields:
        Parts [batch ...] of the array, in order.

    Raises:
        ValueError: If the array is not in C order, or the archive is damaged.
    """
    with open_array(path, name) as (member, layout):
        shape, dtype, by_rows = layout
        if not by_rows or not shape:
            raise ValueError(f"{name} must be in C order, of numbers")
        for start in range(0, shape[0], batch_size):
            rows = np.empty((min(batch_size, shape[0] - start), *shape[1:]), dtype)
            fill(member, rows.reshape(-1))
            yield rows


@contextmanager
def open_member(path: Path, name: str, shape: Sequence[int], dtype: str) -> Iterator[BinaryFile]:
    """Open a new archive of one array to write its elements to, in C order.

    Args:
        path: The archive.
        name: Name of the array.
        shape: Its shape.
        dtype: Its type, such as ``"|u1"``.

    Yields:
        What to write the bytes to.
    """
    head = {"descr": dtype, "fortran_order": False, "shape": tuple(map(int, shape))}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, head)
        yield member
