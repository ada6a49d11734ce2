"""CLIP's tokens: a small vocabulary worked out by hand, and the published one where at hand."""

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from cdcd_jax.conditioning.clip_bpe import ClipTokenizer
from tests.support.golden_files import find_golden

MERGES = "l o\nlo w</w>\nn e\nne w</w>\nÃ ©</w>\n"


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress(f"#version\n{MERGES}o o\n".encode()))
    return ClipTokenizer(path, length=8, num_merges=5)


def letter(char, *, last=False):
    return ord(char) - 33 + 256 * last


def test_words_are_merged_and_marked(small):
    low, new, accent = 512 + 1, 512 + 3, 512 + 4
    assert (small.start, small.end, small.vocab_size) == (517, 518, 519)
    assert small(["low NEW", "lown", "", "é", "&amp;"]).tolist() == [
        [517, low, new, 518, 0, 0, 0, 0],
        [517, 512, letter("w"), letter("n", last=True), 518, 0, 0, 0],
        [517, 518, 0, 0, 0, 0, 0, 0],
        [517, accent, 518, 0, 0, 0, 0, 0],
        [517, letter("&", last=True), 518, 0, 0, 0, 0, 0],
    ]


def test_what_is_too_long_is_cut_before_the_end(small):
    row = small(["new " * 9])[0].tolist()
    assert row == [517, *[515] * 6, 518]


def test_a_wrong_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.gz; give CLIP's merges"):
        ClipTokenizer(tmp_path / "missing.gz")
    short = tmp_path / "short.txt"
    short.write_text(f"#version\n{MERGES}")
    with pytest.raises(ValueError, match=r"short.txt has 5 merges of the 48894"):
        ClipTokenizer(short)
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress(MERGES.encode())[:20])
    with pytest.raises(ValueError, match=r"damaged.gz is not a complete list"):
        ClipTokenizer(damaged)
    with pytest.raises(ValueError, match="length = 1 must be at least 2"):
        ClipTokenizer(short, length=1)


def find_merges():
    """Find OpenAI's merges in a package that brings them along, or skip."""
    for package in ("clip", "open_clip"):
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
            if path.exists():
                return path
    pytest.skip("neither clip-anytorch nor open_clip_torch is installed")


def test_every_published_caption(golden):
    captions = json.loads(find_golden("clip_text/bpe_tokens_raw.json").read_text())["captions"]
    tokens = ClipTokenizer(find_merges())(captions)
    np.testing.assert_array_equal(tokens, golden("clip_text/bpe_tokens.npz")["token"])
