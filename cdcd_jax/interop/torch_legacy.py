"""Read the files that PyTorch wrote before version 1.6, without running what they contain.

The weights that metrics use are that old. Such a file is a row of pickles (a magic number, a
version, the writer's machine, the object, the keys of its storages) and then the storages: for
each key the number of elements in 8 bytes, and their bytes.
"""

import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.interop.stored import Storage, open_file_at
from cdcd_jax.interop.unpickler import DAMAGES, TensorUnpickler

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
HEAD = pickle.dumps(MAGIC_NUMBER, protocol=2)
VERSION = 1001


def is_legacy_torch(path: Path) -> bool:
    """Say whether a file begins as those that PyTorch wrote before version 1.6."""
    with path.open("rb") as file:
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
    try:
        with path.open("rb") as file:
            file.seek(len(HEAD))
            version, machine = (_LegacyUnpickler(file, path).load() for _ in range(2))
            if version != VERSION or not machine["little_endian"]:
                raise ValueError(f"{path} is of a kind of PyTorch file that is not supported.")
            unpickler = _LegacyUnpickler(file, path)
            tree = unpickler.load()
            keys = _LegacyUnpickler(file, path).load()
            unpickler.starts.update(_find_starts(file, path, keys, unpickler.storages))
            return tree
    except DAMAGES as error:
        raise ValueError(f"{path} is truncated or has a damaged pickle: {error!r}.") from error


def _find_starts(
    file: BufferedIOBase, path: Path, keys: list[str], storages: dict[str, Storage]
) -> dict[str, int]:
    """Find where each storage's numbers begin, from one storage's length to the next."""
    starts, end = {}, path.stat().st_size
    for key in keys:
        if key not in storages:
            raise ValueError(f"{path} has a storage of a type of numbers that is not supported.")
        stored = int.from_bytes(file.read(8), "little")
        starts[key] = file.tell()
        file.seek(storages[key].num_bytes, 1)
        if stored != storages[key].size or file.tell() > end:
            raise ValueError(f"{path} is truncated in its storage {key}.")
    missing = sorted(storages.keys() - starts.keys())
    if missing:
        raise ValueError(f"{path} is truncated: it has no storage {missing[0]}.")
    return starts


class _LegacyUnpickler(TensorUnpickler):
    """Unpickler of one of the pickles; where storages begin is known after the last."""

    def __init__(self, file: BufferedIOBase, path: Path):
        super().__init__(file, path)
        self.starts: dict[str, int] = {}

    def find_storage(self, key: str, dtype: np.dtype, size: int) -> Storage:
        """Say where the numbers of a storage are."""

        def open_at(byte: int) -> BufferedIOBase:
            return open_file_at(self.path, self.starts[key])(byte)

        return Storage(self.path, key, dtype, size, size * dtype.itemsize, open_at)
