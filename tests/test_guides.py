"""The Python of the guides on sampling and editing runs as pasted, on a small model of digits."""

import re
from pathlib import Path

import jax
import pytest

import cdcd_jax as cdcd
from tests.support.small_digits import build_small_digits

GUIDES = Path(__file__).parents[1] / "docs" / "guides"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    _, built = build_small_digits(tmp_path_factory.mktemp("run"))
    return built.generator(built.model.init(jax.random.key(0)))


@pytest.mark.parametrize("page", ["editing.md", "sampling.md"])
def test_a_guide_runs_as_pasted(page, digits, monkeypatch):
    monkeypatch.setattr(cdcd, "load", lambda path: digits)
    text = (GUIDES / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = {}
    for block in blocks:
        exec(compile(block, page, "exec"), found)
    results = {"editing.md": ("inpainted", "varied", "both"), "sampling.md": ("tokens", "drawn")}
    assert all(len(found[name]) for name in results[page])
