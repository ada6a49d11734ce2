"""Archives of NumPy arrays, read and written a few rows at a time."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

BinaryFile: TypeAlias = Any
"""A file object of bytes; those of ``zipfile`` share no class with others."""


DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,  # encrypted, or, as NotImplementedError, of an unknown compression
)
"""What reading an archive raises where the archive is to blame."""


class ArrayLayout(NamedTuple):
    """What the head of an array in an archive says.

    Attributes:
        shape: Shape.
        dtype: Type of the elements.
        by_rows: Whether the elements are in C order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    by_rows: bool


def read_layouts(path: Path) -> dict[str, ArrayLayout]:
    """Read the layout of each array of an archive, and no array.

    Raises:
        ValueError: If the file is no archive of arrays, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            layouts = {}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as member:
                        layouts[name.removesuffix(".npy")] = _read_head(member)
            return layouts
    except DAMAGE as error:
        raise ValueError(f"{path} is no complete npz archive of arrays ({error})") from error


def read_array(path: Path, name: str) -> Any:
    """Read one array of an archive.

    Raises:
        ValueError: If it is damaged, or holds Python objects, which are not read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[name]
    except DAMAGE as error:
        raise ValueError(f"{path} is no complete npz archive: {name}: {error}") from error


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
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            shape, dtype, by_rows = _read_head(member)
            if not by_rows or dtype.hasobject:
                raise ValueError(f"{name} must be in C order, of numbers")
            row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
            for start in range(0, shape[0], batch_size):
                count = min(batch_size, shape[0] - start)
                data = member.read(count * row_bytes)
                if len(data) < count * row_bytes:
                    raise EOFError(f"{name} ends after {start} of {shape[0]} rows")
                yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
    except DAMAGE as error:
        raise ValueError(f"{path} is no complete npz archive: {error}") from error


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


def _read_head(member: BinaryFile) -> ArrayLayout:
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"an array of version {version}")
    shape, fortran_order, dtype = read(member)
    return ArrayLayout(shape, dtype, not fortran_order)
