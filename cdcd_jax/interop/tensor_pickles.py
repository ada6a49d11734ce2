"""Pickles of PyTorch's tensors: plain containers of them, and inert objects for the rest.

The names of tensors, storages and ordered dictionaries are answered with functions of this module.
Every other name becomes a class that does nothing, so a checkpoint that also holds its trainer's
settings can be read, and nothing of it is imported or executed (``reading/pickles.py``).
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cdcd_jax.interop.stored import Storage, StoredTensor
from cdcd_jax.reading.pickles import KEY_CHARACTERS, USUAL, Damage, SafeUnpickler, brief

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""PyTorch's name of a storage -> the name of its type of numbers: text, which nothing can alter."""

LEFT_OUT = object()
"""What is left of texts and bytes longer than any key: NumPy's arrays beside a state dict."""


class StandIn:
    """An inert object in place of a function, a class or an instance of one.

    Called, changed or filled, it does nothing.

    Attributes:
        name: What the pickle named.
    """

    name: ClassVar[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        """Accept any arguments and keep none.

        Pickles of protocols 2 and 3 get a class within another by a call, so ``cls`` may be the
        result of one: a placeholder itself.
        """
        made: Any = cls
        return super().__new__(made) if isinstance(made, type) else made

    def __call__(self, *args: Any, **kwargs: Any) -> "StandIn":
        """Return itself."""
        return self

    def _ignore(*args: Any, **kwargs: Any) -> None:
        pass

    __setstate__ = __setattr__ = __setitem__ = append = extend = add = update = _ignore


def stand_in_name(value: Any) -> str | None:
    """Return the name that a placeholder replaces; None for anything else.

    >>> stand_in_name(type("Namespace", (StandIn,), {"name": "argparse.Namespace"})())
    'argparse.Namespace'
    """
    kind = value if isinstance(value, type) else type(value)
    return kind.name if issubclass(kind, StandIn) else None


class TensorUnpickler(SafeUnpickler):
    """An unpickler of tensors that stay in their file; subclasses locate the storages.

    Of texts and bytes longer than any key ``LEFT_OUT`` is left.
    """

    dispatch: ClassVar[dict[int, Callable]] = dict(SafeUnpickler.dispatch)

    def __init__(self, file: BufferedIOBase, path: Path):
        super().__init__(file, path)
        self.file = file
        self.storages: dict[str, Storage] = {}
        self._stand_ins: dict[str, type[StandIn]] = {}
        self._ordered_dict = _ordered_dict(self)

    def find_class(self, module: str, name: str) -> Any:
        """Answer a name of the pickle, never by importing it."""
        if (module, name) == ("collections", "OrderedDict"):
            return self._ordered_dict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, requires_grad, hooks: data
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        full = f"{module}.{name}"
        if full not in self._stand_ins:
            self._stand_ins[full] = type("StandIn", (StandIn,), {"name": full})
        return self._stand_ins[full]

    def check_key(self, key: Any) -> Any:
        """Return a key, unless it is longer than any."""
        if key is LEFT_OUT:
            raise Damage(f"it has a key of more than {KEY_CHARACTERS:,} characters")
        return super().check_key(key)

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage, still unread."""
        match pid:
            case ("storage", kind, str(key), _, int(size), *view) if view in ([], [None]):
                if stand_in_name(kind):
                    return kind()  # of a type of numbers that NumPy does not have
                if kind not in STORAGE_DTYPES.values() or not 0 <= size < 2**48:
                    raise Damage(f"it has a storage {key:.40} of {size} numbers")
                if key not in self.storages:
                    self.spend(1000)
                    self.storages[key] = self.find_storage(key, np.dtype(kind), size)
                return self.storages[key]
        raise ValueError(f"{self.path} refers to an object that is not a whole storage.")

    def find_storage(self, key: str, dtype: np.dtype, size: int) -> Storage:
        """Locate the numbers of a storage."""
        raise NotImplementedError

    def _rebuild_tensor(
        self, storage: Any, offset: Any, shape: tuple, stride: tuple, *_: Any
    ) -> StoredTensor | StandIn:
        if isinstance(storage, StandIn):
            return storage
        if not (isinstance(storage, Storage) and isinstance(shape, tuple)):
            raise Damage("it makes a tensor of something that is not a storage")
        numbers = (offset, *shape, *stride)
        if any(type(number) is not int for number in numbers):
            raise ValueError(
                f"{self.path} describes a tensor by {', '.join(map(brief, numbers[:9]))}, which "
                "are not all whole numbers."
            )
        self.spend(300 + 64 * len(numbers))
        return StoredTensor(storage, offset, tuple(shape), tuple(stride))


def _if_short(width: int, make: Callable[[TensorUnpickler, bytes], Any]) -> Callable:
    """Return how an opcode pushes what has its length before it, in ``width`` bytes."""

    def load(self: TensorUnpickler) -> None:
        self.spend(USUAL)
        length = int.from_bytes(self.read(width), "little")
        if length <= KEY_CHARACTERS:
            self.append(make(self, self.read(length)))
        else:
            self.skip(length)
            self.append(LEFT_OUT)

    return load


def _text(_: TensorUnpickler, data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _bytes(_: TensorUnpickler, data: bytes) -> bytes:
    return data


TensorUnpickler.dispatch |= {
    pickle.BINUNICODE[0]: _if_short(4, _text), pickle.BINUNICODE8[0]: _if_short(8, _text),
    pickle.BINBYTES[0]: _if_short(4, _bytes), pickle.BINBYTES8[0]: _if_short(8, _bytes),
    pickle.BYTEARRAY8[0]: _if_short(8, lambda _, data: bytearray(data)),
    pickle.BINSTRING[0]: _if_short(4, lambda self, data: self._decode_string(data)),
}  # fmt: skip


def _ordered_dict(unpickler: SafeUnpickler) -> type[OrderedDict]:
    """Make a class of ordered dictionaries whose keys are checked, however they are made."""

    class Ordered(OrderedDict):
        def __init__(self, items: Any = ()):
            super().__init__()
            for key, value in items:
                unpickler.spend(100)
                self[unpickler.check_key(key)] = value

    return Ordered
