"""Safetensors files as tensors that stay in the file.

The format is 8 bytes with the length of a JSON header, the header, and the numbers; the header
gives each tensor's type, shape and place. ``safetensors`` reads the header, too, so that a file
that it would refuse is refused here.
"""

import math
from pathlib import Path

import numpy as np

from cdcd_jax.interop.stored import Storage, StoredTensor, open_file_at
from cdcd_jax.reading.safetensors_head import DTYPES, check_complete, read_safetensors_head


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Read what tensors a file holds.

    Args:
        path: The file.

    Returns:
        The tensors by name, still unread. One of a type that NumPy does not have is refused when it
        is read.

    Raises:
        ValueError: The file is damaged.
    """
    header, start = read_safetensors_head(path)
    check_complete(path)
    header.pop("__metadata__", None)
    return {name: _tensor(path, name, entry, start) for name, entry in header.items()}


def _tensor(path: Path, name: str, entry: dict, start: int) -> StoredTensor:
    shape, (first, end) = tuple(entry["shape"]), entry["data_offsets"]
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    storage = Storage(
        path=path,
        name=name,
        dtype=np.dtype(DTYPES.get(entry["dtype"], "V0")),
        size=math.prod(shape),
        num_bytes=end - first,
        open_at=open_file_at(path, start + first),
        foreign="" if entry["dtype"] in DTYPES else entry["dtype"],
    )
    return StoredTensor(storage, 0, shape, strides)
