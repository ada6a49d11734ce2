"""Hostile files: what is read, and the sentence that refuses it."""

from collections.abc import Iterator

from tests.adversarial.cases import Case
from tests.adversarial.files import arrays, irregular, json_texts, media, pickles, tensors, zips


def cases() -> Iterator[Case]:
    """Yield the table."""
    for table in (irregular, zips, arrays, pickles, tensors, json_texts, media):
        yield from table.cases()
