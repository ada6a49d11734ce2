"""Command lines: arguments, files and environment, and what a user should get for them."""

from collections.abc import Iterator

from tests.adversarial.cases import Case


def cases() -> Iterator[Case]:
    """Yield the table."""
    yield from ()
