"""Tables of what a configuration can name, and ``register`` to add to them from outside."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

T = TypeVar("T")


def suggest(name: str, names: Iterable[str]) -> str:
    """Name the most similar, or all.

    >>> suggest("num_stpes", ["seed", "num_steps"])
    'did you mean num_steps?'
    """
    names = [*names]
    close = get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names))}"


class Table(Mapping[str, T], Generic[T]):
    """Entries of one kind by the names that a configuration gives them.

    Attributes:
        kind: What an entry is, in one word.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Add an entry.

        Raises:
            ValueError: If the name is taken by another entry, or is not a name.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{self.kind}: {name!r} is not a name; give letters, digits and _")
        if self._entries.get(name, entry) is not entry:
            raise ValueError(f'there is a {self.kind} "{name}" already; give another name')
        self._entries[name] = entry

    def find(self, name: str, key: str) -> T:
        """Return the entry of a name.

        Args:
            name: As given by a configuration.
            key: The key that it was given by, for the sentence of an error.

        Raises:
            ValueError: If there is none, with the name that may be meant.
        """
        if name in self._entries:
            return self._entries[name]
        raise ValueError(f'{key} = "{name}" is not a {self.kind}: {suggest(name, self)}')

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Table({self.kind!r}, {', '.join(self._entries)})"


SOURCES: Table = Table("data set")
CODECS: Table = Table("codec")
CONDITIONS: Table = Table("condition")
CONTRASTS: Table = Table("contrastive term")
SAMPLERS: Table = Table("sampler")
CORRECTORS: Table = Table("corrector")
METRICS: Table = Table("metric")

TABLES: dict[str, Table] = {
    "source": SOURCES,
    "codec": CODECS,
    "condition": CONDITIONS,
    "contrast": CONTRASTS,
    "sampler": SAMPLERS,
    "corrector": CORRECTORS,
    "metric": METRICS,
}
"""Every table by the kind that ``register`` is given."""


def register(kind: str, name: str, entry: T) -> T:
    """Add what a configuration can name; the configuration's own file may do it.

    Args:
        kind: ``"source"``, ``"codec"``, ``"condition"``, ``"contrast"``, ``"sampler"``,
            ``"corrector"`` or ``"metric"``.
        name: The name; a Python identifier that is not taken.
        entry: What the name is for; docs/extending.md says what each kind is.

    Returns:
        The entry.

    Raises:
        ValueError: If there is no such kind, or the name is taken.

    >>> register("sound", "mine", None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: kind = 'sound' must be one of source, codec, condition, contrast, sampler, ...
    """
    if kind not in TABLES:
        raise ValueError(f"kind = {kind!r} must be one of {', '.join(TABLES)}")
    TABLES[kind].add(name, entry)
    return entry
