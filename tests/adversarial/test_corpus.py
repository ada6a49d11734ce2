"""Replay files that fuzzing made: each is read, or refused in a sentence that names it."""

import zlib
from pathlib import Path

import pytest

from tests.adversarial import corpus
from tests.adversarial.fuzz import TARGETS, check

FILES = [
    pytest.param(reader, name, data, id=f"{reader}-{name}")
    for reader, files in corpus.load().items()
    for name, data in files.items()
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("reader", "name", "data"), FILES)
def test_a_file_that_fuzzing_made_is_read_or_refused(tmp_path, reader, name, data):
    path = tmp_path / f"a{Path(name).suffix}"
    path.write_bytes(data)
    wrong, _, _ = check(TARGETS[reader], path)
    assert wrong is None, wrong


def test_every_reader_has_some_small_files():
    files = corpus.load()
    assert files.keys() == TARGETS.keys()
    assert all(3 <= len(found) <= 16 for found in files.values())
    sizes = [len(zlib.compress(data)) for found in files.values() for data in found.values()]
    assert max(sizes) <= corpus.MOST_BYTES
