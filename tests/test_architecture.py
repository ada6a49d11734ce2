"""Every stop that docs/architecture.md names is in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STOPS = sorted(set(re.findall(r"`([\w/]+\.py): (\w+)`", TEXT)))


def test_the_walks_name_stops():
    assert len(STOPS) > 30


@pytest.mark.parametrize(("file", "name"), STOPS, ids=[":".join(stop) for stop in STOPS])
def test_a_stop_exists(file, name):
    tree = ast.parse((ROOT / "cdcd_jax" / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("page", ["architecture.md", "extending.md"])
def test_every_file_that_is_named_exists(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    files = [f"/{path.relative_to(ROOT)}" for path in ROOT.glob("[!.]*/**/*.py")]
    for name in re.findall(r"`([\w/]+\.py)", text):
        assert any(file.endswith(f"/{name}") for file in files), name
