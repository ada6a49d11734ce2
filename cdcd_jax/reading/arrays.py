"""NumPy files: headers are compared with sizes before anything is allocated."""

import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from zipfile import ZipInfo

import numpy as np

from cdcd_jax.reading.archives import (
    DAMAGE,
    WANTED_BYTES,
    Archive,
    check_unpacked,
    describe,
    open_archive,
)
from cdcd_jax.reading.regular import open_regular

BinaryFile: TypeAlias = Any
"""A file object of bytes; those of ``zipfile`` share no class with others."""


class NoNumbers(ValueError):
    """An array of Python objects, records or dates, which no reader wants."""


NUMBERS = "biufcSU"
"""Kinds of types whose elements are numbers or texts; others hold objects or parts."""

HEAD_BYTES = 10_000
"""Of the description of an array."""


class ArrayLayout(NamedTuple):
    """The header of an array.

    Attributes:
        shape: Shape.
        dtype: Type of the elements.
        by_rows: Whether the elements are in C order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    by_rows: bool

    @property
    def num_bytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_head(file: BinaryFile, size: int) -> ArrayLayout:
    """Read what the head of an array says.

    Args:
        file: At the head; afterwards at the first element.
        size: Bytes of head and elements.

    Returns:
        The layout.

    Raises:
        ValueError: It is damaged, holds anything but numbers and texts, or does not fit the size.
    """
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        kind = NoNumbers if version == (3, 0) else ValueError  # of records with names in Unicode
        raise kind(f"an array of version {version}")
    try:
        shape, fortran_order, dtype = read(file, max_header_size=HEAD_BYTES)
    except (ValueError, EOFError):
        raise
    except Exception as error:  # the head is parsed as Python
        raise ValueError(f"the head of an array is damaged ({error!r:.80})") from error
    layout = ArrayLayout(shape, dtype, not fortran_order)
    if dtype.kind not in NUMBERS or dtype.hasobject or dtype.subdtype is not None:
        raise NoNumbers("it holds Python objects, records or dates and no array of numbers")
    if len(shape) > 32 or any(type(n) is not int or not 0 <= n < 2**48 for n in shape):
        raise ValueError(f"it says that an array has the shape {shape!s:.80}")
    held = size - file.tell()
    if layout.num_bytes != held:
        raise ValueError(
            f"it says that an array is {dtype} {list(shape)!s:.80}, {layout.num_bytes:,} bytes, "
            f"and {held:,} are there"
        )
    return layout


def is_npy(path: Path) -> bool:
    """Return whether a file begins like a NumPy array file."""
    with open_regular(path) as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Read a file of one array of numbers or texts.

    Args:
        path: An ``.npy`` file.
        mapped: Whether to leave the elements on the disk until they are used.

    Returns:
        The array.

    Raises:
        ValueError: The file is damaged, or holds something else.
        OSError: It cannot be read, or is not a regular file.
    """
    file = open_regular(path)
    with file:
        try:
            layout = read_head(file, os.fstat(file.fileno()).st_size)
            order = "C" if layout.by_rows else "F"
            if mapped and layout.num_bytes:
                return np.memmap(file, layout.dtype, "r", file.tell(), layout.shape, order)
            flat = np.fromfile(file, layout.dtype, math.prod(layout.shape))
            return flat.reshape(layout.shape, order=order)
        except DAMAGE as error:
            raise ValueError(f"{path} holds no array: {describe(error)}") from error


def read_layouts(path: Path, wanted: Collection[str] = ()) -> dict[str, ArrayLayout]:
    """Read the layout of each array of numbers or texts of an archive, and no array.

    Raises:
        ValueError: If the file is not an archive of arrays or is damaged, or an array that is
            wanted is of something else.
    """
    with _open_npz(path) as archive:
        return {name: layout for name, (_, layout, _) in find_arrays(archive, wanted).items()}


def find_arrays(
    archive: Archive, wanted: Collection[str] = ()
) -> dict[str, tuple[ZipInfo, ArrayLayout, int]]:
    """Find an archive's arrays of numbers or texts; those of objects, records and dates are left.

    Args:
        archive: An open ``.npz`` file.
        wanted: Names of arrays that must not be of anything else.

    Returns:
        The member of each, its layout, and the byte of the member where its elements begin.

    Raises:
        ValueError: A head is damaged, or arrays are there and none is of numbers or texts.
    """
    found, others = {}, None
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        name = info.filename.removesuffix(".npy")
        with archive.open(info) as member:
            try:
                found[name] = info, read_head(member, info.file_size), member.tell()
            except NoNumbers as error:
                others = NoNumbers(f"{name:.80}: {error}")
                if name in wanted:
                    raise others from error
    if others and not found:
        raise others
    return found


@contextmanager
def _open_npz(path: Path) -> Iterator[Archive]:
    """Open an archive; what goes wrong with it names the file."""
    try:
        archive = open_archive(path, whole=False)
    except ValueError as error:
        raise _no_npz(path, error) from error
    with archive:
        try:
            yield archive
        except DAMAGE as error:
            raise _no_npz(path, error) from error


def _no_npz(path: Path, error: BaseException) -> ValueError:
    reason = describe(error).removeprefix(f"{path} is not a complete zip archive: ")
    if isinstance(error, NoNumbers):
        return ValueError(f"{path} has an array that cannot be read: {reason}")
    return ValueError(f"{path} is not a complete npz archive of arrays: {reason}")


def read_array(path: Path, name: str) -> np.ndarray:
    """Read one array of an archive.

    Raises:
        ValueError: If it is damaged, or holds Python objects, which are not read.
    """
    return read_npz(path, (name,))[name]


def read_npz(path: Path, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an archive.

    Args:
        path: An ``.npz`` file.
        names: Which arrays; None for all.

    Returns:
        The arrays by name.

    Raises:
        ValueError: The file is damaged, has no such array, or one that is not of numbers or texts.
        OSError: It cannot be read, or is not a regular file.
    """
    with _open_npz(path) as archive:
        if names is None:
            check_unpacked(archive, archive.infolist())
            members = [info.filename for info in archive.infolist()]
            names = tuple(name.removesuffix(".npy") for name in members if name.endswith(".npy"))
        return {name: _read_member(archive, f"{name}.npy") for name in names}


def _read_member(archive: Archive, name: str) -> np.ndarray:
    with _open_member(archive, name) as (member, layout):
        array = np.empty(math.prod(layout.shape), layout.dtype)
        fill(member, array)
        member.read(1)  # so that the checksum is compared
        return array.reshape(layout.shape, order="C" if layout.by_rows else "F")


@contextmanager
def _open_member(archive: Archive, name: str) -> Iterator[tuple[BinaryFile, ArrayLayout]]:
    if name not in archive.namelist():
        raise ValueError(f"it has no array {name.removesuffix('.npy'):.80}")
    info = archive.getinfo(name)
    check_unpacked(archive, [info], WANTED_BYTES)
    with archive.open(info) as member:
        yield member, read_head(member, info.file_size)


@contextmanager
def open_array(path: Path, name: str) -> Iterator[tuple[BinaryFile, ArrayLayout]]:
    """Open one array of an archive to read its elements.

    Args:
        path: An ``.npz`` file.
        name: Name of the array.

    Yields:
        A file that is at the first element, and the layout.

    Raises:
        ValueError: The file is damaged, has no such array, or one that is not of numbers or texts.
        OSError: It cannot be read, or is not a regular file.
    """
    with _open_npz(path) as archive, _open_member(archive, f"{name}.npy") as opened:
        yield opened


def fill(file: BinaryFile, array: np.ndarray, chunk_bytes: int = 2**20) -> None:
    """Fill an array [numbers] with a file's next bytes.

    Raises:
        EOFError: There are fewer.
    """
    to_fill = array.view(np.uint8).data if array.size and array.itemsize else memoryview(b"")
    while to_fill:
        part = file.read(min(chunk_bytes, len(to_fill)))
        if not part:
            raise EOFError("it ends too early")
        to_fill[: len(part)] = part
        to_fill = to_fill[len(part) :]
