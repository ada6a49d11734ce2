"""The one unpickler of the package, which executes nothing and stays small.

A pickle is a program for a machine with a stack. Python's own machine imports and calls whatever
the program names. This one answers names as its subclass says (``array_pickles.py``,
``interop/tensor_pickles.py``), takes only keys that are small and do not collide, and counts what
the program makes against a budget, so that no pickle takes more memory than the budget.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any, ClassVar

MAX_BYTES = 2**25
"""Of texts and arrays in a pickle; the longest motion of AIST++ has 2 million."""

SKIP_BYTES, MAX_SKIPPED_BYTES = 2**16, 2**31
"""Bytes read at a time of skipped texts and arrays, and the most of them in all."""

BUDGET = 2**27
"""Bytes of memory for all else that a pickle makes; a checkpoint of 10,000 arrays takes 62
million, one of AIST++ with average and moments has some 5,000."""

COSTS = {pickle.EMPTY_SET: 216, pickle.FROZENSET: 216, pickle.EMPTY_DICT: 96, pickle.DICT: 184,
         pickle.GLOBAL: 1500, pickle.STACK_GLOBAL: 1500, pickle.INST: 1500, pickle.STOP: 0,
         pickle.NEWOBJ: 200, pickle.REDUCE: 200, pickle.OBJ: 200, pickle.NEWOBJ_EX: 200,
         pickle.SETITEM: 100, pickle.MARK: 64}  # fmt: skip
"""Bytes of memory that an opcode may take; of all others ``USUAL``."""
USUAL = 40

MAX_INT = 2**128
"""The states of NumPy's generators and UUIDs have 128 bits."""

MAX_KEY = 2**60
"""Larger whole numbers can be chosen so that they collide in a dict, as tuples and sets can."""

KEY_PARTS, KEY_CHARACTERS = 64, 2**16
"""Most parts of a key, however they are nested, and characters of all of them."""

COLLISION = 2**16
"""Bytes of the budget for each key that collides with another: 2,000 take a dict no time."""

MAX_SKIPPED = 1000
"""Numbers of objects that a writer may have left out."""


class Damage(Exception):
    """An error in a pickle: damaged, or not allowed by the reader."""


class _Source:
    """A file's next bytes, of which never more are read than there may be."""

    def __init__(self, file: BufferedIOBase, spend: Callable[[int], None]):
        self._file, self._spend = file, spend

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        self._spend(count if count > 16 else 0)
        data = self._file.read(count)
        if len(data) < count:
            raise EOFError("it ends too early")
        return data

    def readline(self) -> bytes:
        """Read a line, which must end."""
        line = self._file.readline(MAX_BYTES)
        self._spend(len(line))
        if not line.endswith(b"\n"):
            raise EOFError("it ends too early")
        return line


_Machine: Any = pickle._Unpickler  # the one in Python, whose opcodes can be replaced


class SafeUnpickler(_Machine):
    """An unpickler that executes nothing and whose memory is limited.

    Subclasses say what names stand for (``find_class``). An object may be given a state (BUILD) if
    its class has ``__setstate__``; ordered dictionaries ignore theirs.

    Args:
        file: The pickle; what follows it is left unread.
        path: For messages.
        encoding: Of the texts of Python 2.
        budget: Most bytes of memory for what the pickle makes, beyond texts and arrays.

    Example:
        >>> import io
        >>> SafeUnpickler(io.BytesIO(pickle.dumps([1, "a"])), Path("list.pkl")).load()
        [1, 'a']
    """

    dispatch: ClassVar[dict[int, Callable]] = dict(_Machine.dispatch)

    def __init__(
        self, file: BufferedIOBase, path: Path, *, encoding: str = "utf-8", budget: int = BUDGET
    ):
        self._left, self._bytes_left, self._skipped = budget, MAX_BYTES, 0
        self._keys: dict[int, Any] = {}
        source: Any = _Source(file, self._spend_bytes)
        super().__init__(source, encoding=encoding, fix_imports=False)
        self.path = path

    def load(self) -> Any:
        """Run the pickle.

        Returns:
            What it makes.

        Raises:
            ValueError: It is damaged, imports something that is not allowed, or is too large.
        """
        try:
            return super().load()
        except Exception as error:
            # Damaged pickles raise whatever their opcodes meet: EOFError, KeyError, IndexError ...
            if isinstance(error, ValueError) and str(self.path) in str(error):
                raise
            reason = str(error) if isinstance(error, Damage | EOFError) else f"{error!r:.160}"
            raise ValueError(f"{self.path} has a damaged pickle: {reason}.") from error

    def find_class(self, module: str, name: str) -> Any:
        """Refuse a name; subclasses answer those that they know, never by importing them."""
        raise Damage(f"it imports {module:.60}.{name:.60}, so it is not read")

    def spend(self, count: int) -> None:
        """Count bytes of memory against the budget."""
        self._left -= count
        if self._left < 0:
            raise Damage("it makes more things than a file of this kind has")

    def _spend_bytes(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise Damage(f"it has more than {MAX_BYTES:,} bytes, or says so")

    def check_key(self, key: Any) -> Any:
        """Return a key, unless hashing or comparing it may take forever.

        A tuple of two references to one tuple of two references to ... is hashed as often as there
        are ways through it. Other keys can be chosen so that all have one hash, and a dict compares
        each with each; Python itself prevents it for texts alone.
        """
        if type(key) in (str, bytes) and len(key) <= KEY_CHARACTERS:
            return key
        parts, characters = [key], 0
        for part in parts:
            if isinstance(part, tuple | frozenset):
                if len(parts) + len(part) > KEY_PARTS:
                    raise Damage(f"it has a key of more than {KEY_PARTS} parts")
                parts += part
            elif isinstance(part, str | bytes):
                characters += len(part)
        if characters > KEY_CHARACTERS:
            raise Damage(f"it has a key of more than {KEY_CHARACTERS:,} characters")
        if len(parts) > 1 or (isinstance(key, int) and not -MAX_KEY < key < MAX_KEY):
            self.spend(100)
            if self._keys.setdefault(hash(key), key) != key:
                self.spend(COLLISION)
        return key

    def skip(self, count: int) -> None:
        """Read past bytes without keeping them, which costs no memory."""
        self._skipped += count
        if self._skipped > MAX_SKIPPED_BYTES:
            raise Damage(f"it has more than {MAX_SKIPPED_BYTES:,} bytes of arrays, or says so")
        while count:
            part = min(count, SKIP_BYTES)
            self.read(part)
            self._bytes_left += part
            count -= part

    def get_extension(self, code: int) -> Any:
        """Refuse extension codes, which only the writer's program can resolve."""
        raise Damage(f"extension {code} has no place in it")

    def load_build(self) -> None:
        """Set the state of an object, if its class accepts one."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, OrderedDict):
            return  # PyTorch's versions of modules
        if isinstance(target, type) or not hasattr(type(target), "__setstate__"):
            raise Damage(f"it gives a state to {type(target).__name__}, which has none")
        target.__setstate__(state)

    def load_bytearray8(self) -> None:
        """Push bytes that can be changed."""
        count = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(count)))

    def load_setitem(self) -> None:
        """Set an item."""
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][self.check_key(key)] = value

    def load_setitems(self) -> None:
        """Set items."""
        items = self.pop_mark()
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.spend(100)
            target[self.check_key(key)] = value

    def load_dict(self) -> None:
        """Push a dict of the items above the mark."""
        items = self.pop_mark()
        keys = map(self.check_key, items[::2])
        self.spend(100 * len(items))
        self.append(dict(zip(keys, items[1::2], strict=True)))

    def load_additems(self) -> None:
        """Add to a set."""
        items = self.pop_mark()
        self.spend(100 * len(items))
        self.stack[-1].update(map(self.check_key, items))

    def load_frozenset(self) -> None:
        """Push a set of the items above the mark."""
        items = self.pop_mark()
        self.spend(100 * len(items))
        self.append(frozenset(map(self.check_key, items)))

    dispatch |= {
        pickle.BUILD[0]: load_build, pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict, pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
    }  # fmt: skip


def _counted(function: Callable, cost: int) -> Callable:
    def load_counted(self: SafeUnpickler) -> None:
        self.spend(cost)
        function(self)

    return load_counted


def _small(function: Callable) -> Callable:
    """Refuse whole numbers that are longer than any reader needs, and slow to print."""

    def load_small(self: SafeUnpickler) -> None:
        function(self)
        if not -MAX_INT <= self.stack[-1] <= MAX_INT:
            raise Damage("it holds a whole number of more than 16 bytes")

    return load_small


def _in_order(function: Callable) -> Callable:
    """Refuse numbers of objects far from their order, which only damaged pickles have."""

    def load_in_order(self: SafeUnpickler) -> None:
        function(self)
        if next(reversed(self.memo)) > len(self.memo) + MAX_SKIPPED:
            raise Damage("it numbers its objects in another order")

    return load_in_order


for _code in (pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT):
    SafeUnpickler.dispatch[_code[0]] = _in_order(SafeUnpickler.dispatch[_code[0]])
for _code in (pickle.INT, pickle.LONG, pickle.LONG1, pickle.LONG4):
    SafeUnpickler.dispatch[_code[0]] = _small(SafeUnpickler.dispatch[_code[0]])
for _code, _function in list(SafeUnpickler.dispatch.items()):
    _cost = COSTS.get(bytes([_code]), USUAL)
    SafeUnpickler.dispatch[_code] = _counted(_function, _cost)


def brief(value: Any) -> str:
    """Describe a value of a pickle in a few words, however it is built.

    >>> brief([[[1]]]), brief("x" * 100)
    ('a list', "'xxxxxxxxxxxxxxxxxxxx'")
    """
    if isinstance(value, str | bytes):
        return repr(value[:20])
    return repr(value) if value is None or isinstance(value, int | float) else (
        f"a {type(value).__name__}"
    )  # fmt: skip
