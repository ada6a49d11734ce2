"""Hostile files: what is read, and the sentence that refuses it."""

from collections.abc import Iterator

from tests.adversarial.cases import Case


def cases() -> Iterator[Case]:
    """Yield the table."""
    yield from ()
