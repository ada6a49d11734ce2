"""Misuses of the API, and uses at its edges: a call, and the sentence or values that are right."""

from collections.abc import Iterator

from tests.adversarial.calls import arrays, edges, keys, networks, options, outputs, schedules
from tests.adversarial.cases import Case


def cases() -> Iterator[Case]:
    """Yield the table."""
    for part in (arrays, keys, outputs, options, schedules, networks, edges):
        yield from part.cases()
