"""Read the files that PyTorch wrote before version 1.6, without running what they contain.

The weights that metrics use are that old. Such a file is a row of pickles (a magic number, a
version, the writer's machine, the object, the keys of its storages) and then the storages: for
each key the number of elements in 8 bytes, and their bytes.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cdcd_jax.interop.torch_file import TensorUnpickler

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
HEAD = pickle.dumps(MAGIC_NUMBER, protocol=2)
VERSION = 1001


def is_legacy_torch(path: Path) -> bool:
    """Say whether a file begins as those that PyTorch wrote before version 1.6."""
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD


def read_legacy_torch(path: Path) -> Any:
    """Read such a file as plain containers of NumPy arrays.

    Args:
        path: The file.

    Returns:
        What was saved: usually a dict, tensors as arrays of their own memory.

    Raises:
        ValueError: The file is damaged, or its pickle asks for anything but tensors and plain
            containers; the sentence names what.
    """
    try:
        with path.open("rb") as file:
            file.seek(len(HEAD))
            version, machine = (_LegacyUnpickler(file, path).load() for _ in range(2))
            if version != VERSION or not machine["little_endian"]:
                raise ValueError(f"{path} is of a kind of PyTorch file that is not supported.")
            start = file.tell()
            # The storages come after the object, so the first reading only finds out their types.
            survey = _LegacyUnpickler(file, path)
            survey.load()
            keys = _LegacyUnpickler(file, path).load()
            storages = {key: _read_storage(file, path, *survey.wanted[key]) for key in keys}
            file.seek(start)
            return _LegacyUnpickler(file, path, storages).load()
    except (
        pickle.UnpicklingError, EOFError, KeyError, TypeError, IndexError, AttributeError
    ) as error:  # fmt: skip
        raise ValueError(f"{path} is truncated or has a damaged pickle: {error!r}.") from error


def _read_storage(file: BinaryIO, path: Path, dtype: np.dtype, size: int) -> np.ndarray:
    stored = int.from_bytes(file.read(8), "little")
    data = file.read(stored * dtype.itemsize)
    if stored != size or len(data) < size * dtype.itemsize:
        raise ValueError(
            f"{path} is truncated: one of its storages has {len(data)} bytes of "
            f"{size * dtype.itemsize}."
        )
    return np.frombuffer(data, dtype)


class _LegacyUnpickler(TensorUnpickler):
    """Answer to the same few names; without storages, note which are wanted and build nothing."""

    def __init__(
        self, file: BinaryIO, path: Path, storages: Mapping[str, np.ndarray] | None = None
    ):
        pickle.Unpickler.__init__(self, file, encoding="utf-8")
        self.path, self.read = path, storages
        self.wanted: dict[str, tuple[np.dtype, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Answer a name of the pickle, never by importing it."""
        if (module, name) == ("torch._utils", "_rebuild_tensor"):
            return self._rebuild_tensor
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage as a flat array, or nothing if none has been read."""
        kind, dtype, key, _, size, view = pid
        if kind != "storage" or view is not None:
            raise ValueError(f"{self.path} refers to an object that is no whole storage.")
        self.wanted[key] = (dtype, size)
        return None if self.read is None else self.read[key]

    def _rebuild_tensor(
        self, storage: Any, offset: int, shape: tuple, stride: tuple, *_: Any
    ) -> Any:
        return (
            storage if storage is None else super()._rebuild_tensor(storage, offset, shape, stride)
        )
