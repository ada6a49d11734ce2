"""The README's Python runs as pasted."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^(<!-- needs .*-->\n)?```python\n(.*?)^```$", README.read_text(), re.M | re.S)


@pytest.mark.parametrize("block", [code for needs, code in BLOCKS if not needs])
def test_a_block_runs_as_pasted(block):
    """One below ``<!-- needs ... -->``, such as files of the reader's, is left out."""
    found = {}
    exec(compile(block, str(README), "exec"), found)
    assert found["tokens"].shape == (8, 24)
    assert found["nats"].shape == (8,)
    assert found["terms"].loss > 0


def test_there_is_something_to_paste():
    assert any(not needs for needs, _ in BLOCKS)
