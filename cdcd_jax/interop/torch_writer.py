"""Writing PyTorch's zip checkpoints without PyTorch, as ``torch.save`` does since 1.6."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {"float64": "Double", "float32": "Float", "float16": "Half", "int64": "Long"}
"""Type of an array -> what PyTorch calls its storage."""


def write_torch(path: Path, tree: Any) -> Path:
    """Write plain containers of arrays; each array becomes a tensor with a storage of its own.

    Args:
        path: The file.
        tree: Dicts, lists and tuples of NumPy arrays (float64, float32, float16, int64), texts,
            numbers and None.

    Returns:
        The path.

    Raises:
        ValueError: An array is of another type.

    >>> import tempfile
    >>> from cdcd_jax.interop import read_state_dict
    >>> path = Path(tempfile.mkdtemp()) / "last.ckpt"
    >>> tree = {"epoch": 3, "state_dict": {"weight": np.eye(2, dtype=np.float32)}}
    >>> read_state_dict(write_torch(path, tree), "state_dict")["weight"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    arrays: list[np.ndarray] = []
    program = b"\x80\x02" + _encode(tree, arrays) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", b"little")
        for key, array in enumerate(arrays):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", b"3\n")
    return path


def _encode(value: Any, arrays: list[np.ndarray]) -> bytes:
    """Return the opcodes, of the pickle protocol 2, that put a value on the stack."""
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays)
    if isinstance(value, Mapping):
        items = (part for item in value.items() for part in item)
        return b"}(" + b"".join(_encode(part, arrays) for part in items) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(_encode(part, arrays) for part in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(_encode(part, arrays) for part in value) + b"e"
    return pickle.dumps(value, protocol=2)[2:-1]  # without its beginning and its end


def _encode_array(array: np.ndarray, arrays: list[np.ndarray]) -> bytes:
    """Encode ``_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)``."""
    if array.dtype.name not in STORAGES:
        raise ValueError(f"an array is {array.dtype}, not one of {', '.join(STORAGES)}")
    array = np.ascontiguousarray(array).reshape(array.shape)
    key = str(len(arrays))
    arrays.append(array)
    strides = tuple(step // array.itemsize for step in array.strides)
    storage = (
        b"("
        + _encode("storage", arrays)
        + f"ctorch\n{STORAGES[array.dtype.name]}Storage\n".encode()
        + _encode(key, arrays)
        + _encode("cpu", arrays)
        + _encode(array.size, arrays)
        + b"tQ"  # the tuple is the persistent id of the storage
    )
    rest = b"".join(_encode(part, arrays) for part in (0, array.shape, strides, False, {}))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"
