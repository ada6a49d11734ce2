"""Pickles of NumPy arrays.

The few names that arrays need stand for plain records of this module, and arrays are made of those
afterwards; anything else is refused (``pickles.py``).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.reading.pickles import Damage, SafeUnpickler, brief
from cdcd_jax.reading.regular import open_regular

MAX_DEPTH, MAX_ITEMS = 8, 100_000
"""Of what a pickle holds: containers within each other, and things in all. A few bytes of a pickle
can stand for a list that holds itself, or for 2**64 lists."""

NUMBER_TYPE = re.compile(r"[<>|=]?[biuf]([1248]|16)")
"""Types whose bytes are numbers: no objects, which would be addresses."""


def load_pickle(path: Path) -> Any:
    """Read a pickle of arrays, numbers, texts and containers of them; execute nothing.

    Args:
        path: A pickle of any protocol, of NumPy 1 or 2.

    Returns:
        What it holds.

    Raises:
        ValueError: If the file is missing, damaged, too large, or holds or imports anything else.
    """
    try:
        with open_regular(path) as file:
            held = _ArrayUnpickler(file, path, encoding="latin1").load()
        return _Builder().build(held, 0)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:
        # Arrays of damaged pickles raise whatever NumPy meets.
        reason = str(error).removeprefix(f"{path} ") or type(error).__name__
        raise ValueError(f"{path} cannot be read as a pickle of arrays: {reason:.240}") from error


class _Type:
    """A pickled dtype."""

    def __init__(self, name: Any, *_: Any):
        if not (isinstance(name, str) and NUMBER_TYPE.fullmatch(name)):
            raise Damage(f"it holds an array of {brief(name)}, not of numbers")
        self.name, self.order = name, ""

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        self.order = order if order in ("<", ">") else ""

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.name.lstrip("<>|=") if self.order else self.name)


class _Array:
    """A pickled array: ``state`` is version, shape, type, order and bytes."""

    def __init__(self, *_: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        if self.state is None:
            raise Damage("it holds an unfinished array")
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise Damage("it holds an array without a shape")
        _, shape, kind, column_major, data = self.state
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(kind, _Type) or not isinstance(data, bytes | bytearray):
            raise Damage("it holds an array that is not of numbers")
        if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
            raise Damage("it holds an array without a shape")
        # A copy: an array that looks at bytes cannot be written to.
        flat = np.frombuffer(data, kind.dtype()).copy()
        return flat.reshape(shape, order="F" if column_major else "C")


def _scalar(kind: Any, data: Any) -> _Array:
    array = _Array()
    array.state = (1, (), kind, False, data)
    return array


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.state = (1, shape, kind, order == "F", data)
    return array


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Undo how old protocols write bytes; any other use of a codec is refused."""
    if encoding != "latin1" or not isinstance(text, str):
        raise Damage(f"it uses the encoding {brief(encoding)}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Replace ``bytes``, which old protocols call without arguments; a number would fill memory."""
    return b""


_STANDINS: dict[tuple[str, str], Any] = {
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _STANDINS[_core + ".multiarray", "_reconstruct"] = _Array
    _STANDINS[_core + ".multiarray", "scalar"] = _scalar
    _STANDINS[_core + ".numeric", "_frombuffer"] = _from_buffer


class _ArrayUnpickler(SafeUnpickler):
    """An unpickler that accepts the names of arrays only, and replaces them by records."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the record of a name without importing it."""
        if (module, name) not in _STANDINS:
            raise Damage(
                f"it imports {module:.80}.{name:.80}, which arrays do not need and could do harm"
            )
        return _STANDINS[module, name]


class _Builder:
    """A builder of arrays from records, within containers too, that counts what it holds."""

    def __init__(self) -> None:
        self.num_items = 0
        self._arrays: dict[int, np.ndarray] = {}

    def build(self, held: Any, depth: int) -> Any:
        self.num_items += 1
        if depth > MAX_DEPTH or self.num_items > MAX_ITEMS:
            raise Damage("it holds more things within each other than motion needs")
        if isinstance(held, _Array):
            # One array, however often the pickle refers to it.
            if id(held) not in self._arrays:
                self._arrays[id(held)] = held.array()
            return self._arrays[id(held)]
        if isinstance(held, dict):
            return {
                self.build(key, depth + 1): self.build(value, depth + 1)
                for key, value in held.items()
            }
        if isinstance(held, list | tuple):
            return type(held)(self.build(value, depth + 1) for value in held)
        if held is None or isinstance(held, bool | int | float | complex | str | bytes | bytearray):
            return held
        raise Damage(f"it holds a {type(held).__name__}")
