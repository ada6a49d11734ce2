"""Read PyTorch's zip checkpoints without PyTorch and without running what they contain.

A checkpoint is a zip of one pickle, which describes tensors, and one member per storage with their
bytes. A pickle is a program: it may name any function and have it called. The reader below answers
to the names of tensors, storages and ordered dictionaries only, with functions of its own, and
refuses every other.
"""

import collections
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

STORAGE_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read_torch(path: Path) -> Any:
    """Read a zip checkpoint as plain containers of NumPy arrays.

    Args:
        path: A file that ``torch.save`` wrote, by PyTorch 1.6 or newer.

    Returns:
        What was saved: usually a dict, tensors as arrays of their own memory.

    Raises:
        ValueError: The file is damaged or of another format, or its pickle asks for anything but
            tensors and plain containers; the sentence names what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise ValueError(f"{path} is a zip file, but not one that torch.save wrote.")
            root = pickles[0].removesuffix("data.pkl")
            return TensorUnpickler(archive, root, path).load()
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(
            f"{path} is no complete PyTorch zip checkpoint ({error}): it is truncated, or older "
            "than PyTorch 1.6, which can load and save it again."
        ) from error
    except (pickle.UnpicklingError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged pickle: {error}.") from error


class TensorUnpickler(pickle.Unpickler):
    """Build tensors from the archive and refuse every name it has no answer to."""

    def __init__(self, archive: zipfile.ZipFile, root: str, path: Path):
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")), encoding="utf-8")
        self.archive, self.root, self.path = archive, root, path
        self.storages: dict[str, np.ndarray] = {}
        byteorder = f"{root}byteorder"
        if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
            raise ValueError(f"{path} was saved on a big-endian machine, which is not supported.")

    def find_class(self, module: str, name: str) -> Any:
        """Answer a name of the pickle, never by importing it."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, requires_grad, hooks: data
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch" and name in STORAGE_DTYPES:
            return np.dtype(STORAGE_DTYPES[name])
        raise ValueError(
            f"{self.path} asks for {module}.{name}, which is neither a tensor nor a plain "
            "container, so it is not read; save the state dict alone."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return a storage as a flat array."""
        kind, dtype, key, _, size = pid
        if kind != "storage":
            raise ValueError(f"{self.path} refers to an unknown kind of object, {kind!r}.")
        if key not in self.storages:
            data = self.archive.read(f"{self.root}data/{key}")
            if len(data) < size * dtype.itemsize:
                raise ValueError(
                    f"{self.path} is truncated: its storage {key} has {len(data)} bytes of "
                    f"{size * dtype.itemsize}."
                )
            self.storages[key] = np.frombuffer(data, dtype, count=size)
        return self.storages[key]

    def _rebuild_tensor(
        self, storage: np.ndarray, offset: int, shape: tuple, stride: tuple, *_: Any
    ) -> np.ndarray:
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        inside = offset >= 0 and all(step >= 0 for step in stride) and last < storage.size
        if math.prod(shape) and not inside:
            raise ValueError(f"{self.path} describes a tensor {shape} that exceeds its storage.")
        strides = tuple(step * storage.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)
        return view.copy()
