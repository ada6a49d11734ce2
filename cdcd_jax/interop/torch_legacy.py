"""Reading files of PyTorch before version 1.6 without executing them.

The weights that metrics use are that old. Such a file is a row of pickles (a magic number, a
version, the writer's machine, the object, the keys of its storages) and then the storages: for
each key the number of elements in 8 bytes, and their bytes.
"""

import os
import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.interop.stored import Storage, open_file_at
from cdcd_jax.interop.tensor_pickles import TensorUnpickler
from cdcd_jax.reading.pickles import brief
from cdcd_jax.reading.regular import open_regular

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
HEAD = pickle.dumps(MAGIC_NUMBER, protocol=2)
VERSION = 1001


def is_legacy_torch(path: Path) -> bool:
    """Return whether a file has the format of PyTorch before version 1.6."""
    with open_regular(path) as file:
        return file.read(len(HEAD)) == HEAD


def read_legacy_torch(path: Path) -> Any:
    """Read such a file as plain containers of tensors that stay in the file.

    Args:
        path: The file.

    Returns:
        What was saved, as ``read_torch`` does.

    Raises:
        ValueError: The file is damaged or of another kind.
    """
    with open_regular(path) as file:
        file.seek(len(HEAD))
        version, machine = (_LegacyUnpickler(file, path).load() for _ in range(2))
        little = isinstance(machine, dict) and machine.get("little_endian") is True
        if version != VERSION or not little:
            raise ValueError(f"{path} is of a kind of PyTorch file that is not supported.")
        unpickler = _LegacyUnpickler(file, path)
        tree = unpickler.load()
        keys = _LegacyUnpickler(file, path).load()
        unpickler.starts.update(_find_starts(file, path, keys, unpickler.storages))
        return tree


def _find_starts(
    file: BufferedIOBase, path: Path, keys: Any, storages: dict[str, Storage]
) -> dict[str, int]:
    """Find where each storage's numbers begin, from one storage's length to the next."""
    if not isinstance(keys, list) or len(keys) > len(storages):
        raise ValueError(
            f"{path} is truncated or damaged: it lists its storages as {brief(keys)}, or storages "
            "that no tensor has, whose types of numbers are not supported."
        )
    starts, end = {}, os.fstat(file.fileno()).st_size
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise ValueError(f"{path} has a storage of a type of numbers that is not supported.")
        stored = int.from_bytes(file.read(8), "little")
        starts[key] = file.tell()
        if stored != storages[key].size or starts[key] + storages[key].num_bytes > end:
            raise ValueError(f"{path} is truncated in its storage {key:.80}.")
        file.seek(storages[key].num_bytes, 1)
    missing = sorted(storages.keys() - starts.keys())
    if missing:
        raise ValueError(f"{path} is truncated: it has no storage {missing[0]}.")
    return starts


class _LegacyUnpickler(TensorUnpickler):
    """An unpickler of one of the pickles; storages begin after the last."""

    def __init__(self, file: BufferedIOBase, path: Path):
        super().__init__(file, path)
        self.starts: dict[str, int] = {}

    def find_storage(self, key: str, dtype: np.dtype, size: int) -> Storage:
        """Locate the numbers of a storage."""

        def open_at(byte: int) -> BufferedIOBase:
            return open_file_at(self.path, self.starts[key])(byte)

        return Storage(self.path, key, dtype, size, size * dtype.itemsize, open_at)
