"""Tensors that stay in their file until they are needed.

A checkpoint holds several times what is wanted of it: AdamW's moments, a second copy of the
weights. So a file is described first, and then only what is wanted is read, once, into the array
that it becomes.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cdcd_jax.reading.archives import DAMAGE, describe
from cdcd_jax.reading.arrays import fill
from cdcd_jax.reading.regular import open_regular
from cdcd_jax.reading.safetensors_head import no_such_type

MOST_AXES = 32
"""Of a tensor."""

SHARED, FREE_SHARED_BYTES = 2, 2**26
"""How often the numbers of a file may be used by several of its tensors: so many times all of them,
or this many bytes beyond. Tied weights are used twice."""


@dataclass(frozen=True, eq=False)
class Storage:
    """A block of numbers in a file.

    Attributes:
        path: The file.
        name: In error messages.
        dtype: Of the numbers.
        size: How many there should be.
        num_bytes: How many bytes there are.
        open_at: ``open_at(byte) -> file`` that reads on from that byte of the block.
        foreign: The type's name in a safetensors file where NumPy has no such type, and ``dtype``
            is ``V0``; such numbers cannot be read.
    """

    path: Path
    name: str
    dtype: np.dtype
    size: int
    num_bytes: int
    open_at: Callable[[int], Any]
    foreign: str = ""

    def read(self, first: int, count: int) -> np.ndarray:
        """Read some of the numbers.

        Args:
            first: The first of them.
            count: How many.

        Returns:
            An array [count] of its own memory.

        Raises:
            ValueError: The block is shorter than it should be, damaged, or of a foreign type.
        """
        if self.foreign:
            raise ValueError(no_such_type(self.path, self.name, self.foreign))
        itemsize = self.dtype.itemsize
        if self.num_bytes < self.size * itemsize:
            raise ValueError(
                f"{self.path} is truncated: its storage {self.name:.80} has "
                f"{self.num_bytes} bytes of {self.size * itemsize}."
            )
        array = np.empty(count, self.dtype)
        try:
            with self.open_at(first * itemsize) as file:
                fill(file, array)
                file.read(1)  # so that the checksum of a zip's member is compared
        except DAMAGE as error:
            raise ValueError(
                f"{self.path} is damaged in its storage {self.name:.80}: {describe(error)}."
            ) from error
        return array


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a file; ``np.asarray`` reads it.

    Attributes:
        storage: The block that its numbers are in.
        offset: Its first number's place there.
        shape: Its shape.
        strides: Steps along each axis, counted in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self):
        inside = len(self.shape) == len(self.strides) <= MOST_AXES
        inside = inside and min(self.offset, *self.shape, *self.strides, 0) >= 0
        if inside and self.size:
            inside = self.size <= self.storage.size and self._span <= (
                self.storage.size - self.offset
            )
        if not inside or (not self.size and max(self.shape) > FREE_SHARED_BYTES):
            raise ValueError(
                f"{self.storage.path} describes a tensor {self.shape[: MOST_AXES + 1]!s:.80} that "
                "exceeds its storage."
            )

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self.storage.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def _span(self) -> int:
        """Numbers from the first to the last, both included."""
        pairs = zip(self.shape, self.strides, strict=False)
        return 1 + sum((size - 1) * step for size, step in pairs)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read the tensor as an array of its own memory."""
        if not self.size:
            return np.zeros(self.shape, dtype or self.dtype)
        flat = self.storage.read(self.offset, self._span)
        strides = tuple(step * flat.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        array = flat.reshape(self.shape) if view.flags.c_contiguous else view.copy()
        return array if dtype is None else array.astype(dtype, copy=False)


StateDict: TypeAlias = Mapping[str, np.ndarray | StoredTensor]
"""Arrays by their dotted PyTorch names, in memory or still in their file."""


def check_shared(tensors: Iterable[StoredTensor], path: Path) -> None:
    """Refuse a file of whose few numbers many tensors are made, which would fill the memory.

    Raises:
        ValueError: Naming the file.
    """
    distinct = {(id(t.storage), t.offset, t.shape, t.strides): t for t in tensors}.values()
    wanted = sum(tensor.size * tensor.dtype.itemsize for tensor in distinct)
    storages = {id(tensor.storage): tensor.storage for tensor in distinct}.values()
    there = sum(min(s.num_bytes, s.size * s.dtype.itemsize) for s in storages)
    if wanted > max(SHARED * there, there + FREE_SHARED_BYTES):
        raise ValueError(
            f"{path} makes tensors of {wanted:,} bytes out of {there:,}; save them anew, each with "
            "numbers of its own."
        )


def read_floats(state: StateDict, name: str, dtype: Any = np.float32) -> np.ndarray:
    """Read one array of weights, which must be finite floating-point numbers.

    Args:
        state: Arrays by name.
        name: Of the array.
        dtype: What the numbers become.

    Returns:
        The array.

    Raises:
        ValueError: Naming the file and the array, if its numbers are of another kind, are not
            finite or become infinite in ``dtype``.

    >>> read_floats({"scale": np.float16([1, 2])}, "scale")
    array([1., 2.], dtype=float32)
    """
    array = state[name]
    where = array.storage.path if isinstance(array, StoredTensor) else "The state dict"
    if array.dtype.kind not in "fV":  # V: bfloat16, and foreign types, which are not read
        raise ValueError(
            f"{where} holds {name} as {array.dtype}, but weights must be floating-point numbers; "
            "give the file that it was made of, before its weights were rounded or quantized."
        )
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        floats = np.asarray(array, dtype)
    check_finite(floats, name, where)
    return floats


def check_finite(array: np.ndarray, name: str, where: Path | str) -> None:
    """Refuse an array of weights that are not all finite.

    Raises:
        ValueError: Naming where it is from, the array, and how many of its numbers are not finite.
    """
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise ValueError(
            f"{where} holds {name}, of which {bad} of {array.size} numbers are NaN or infinite, as "
            "after training that diverged; give weights from before that."
        )


def open_file_at(path: Path, start: int) -> Callable[[int], BufferedIOBase]:
    """Return the ``open_at`` of a block that begins at a byte of a file."""

    def open_at(byte: int) -> BufferedIOBase:
        file = open_regular(path)
        file.seek(start + byte)
        return file

    return open_at
