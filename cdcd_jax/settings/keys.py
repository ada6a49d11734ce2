"""Keys of a section: required and optional ones."""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, NamedTuple


class Keys(NamedTuple):
    """The keys of a section.

    Attributes:
        needed: Those that must be there.
        other: Those that may be there.
        strict: Whether keys of the section's other variants are refused.

    >>> Keys.of("name").and_needed("path").needed == {"name", "path"}
    True
    """

    needed: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()
    strict: bool = False

    @property
    def known(self) -> frozenset[str]:
        """Every key."""
        return self.needed | self.other

    @classmethod
    def of(cls, *needed: str, other: Iterable[str] = (), strict: bool = False) -> "Keys":
        """List keys by their names."""
        return cls(frozenset(needed), frozenset(other), strict)

    def and_needed(self, *needed: str) -> "Keys":
        """Add keys that must be there."""
        return self._replace(needed=self.needed | frozenset(needed))

    def and_other(self, *other: str) -> "Keys":
        """Add keys that may be there."""
        return self._replace(other=self.other | frozenset(other))


def argument_keys(make: Callable[..., Any], *, given: Iterable[str] = ()) -> Keys:
    """Return the keyword arguments of a constructor as keys, except for given ones."""
    kinds = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = {
        name: parameter.default is Parameter.empty
        for name, parameter in signature(make).parameters.items()
        if parameter.kind in kinds and name not in (*given, "self")
    }
    needed = frozenset(name for name, is_needed in parameters.items() if is_needed)
    return Keys(needed, frozenset(parameters) - needed, strict=True)


def field_keys(options: Callable[..., Any], *more: str, without: str = "") -> Keys:
    """Return all fields of options as keys."""
    return Keys(argument_keys(options).known - {without} | frozenset(more))
