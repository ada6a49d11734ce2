"""Links between pages, and from code to pages, lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"])


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_that_is_named_exists():
    named = re.compile(r"\bdocs/[\w/-]+\.(?:md|png|jpg)")
    folders = ("cdcd_jax", "configs", "tests", "benchmarks", "launch", "docs")
    for folder in folders:
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".md", ".sh", ".sbatch", ".yaml"):
                for name in named.findall(file.read_text(encoding="utf-8")):
                    assert (ROOT / name).is_file(), f"{file.relative_to(ROOT)} names {name}"


def test_the_index_has_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"({name})" in index, name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_figure_of_the_schedules_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    script = runpy.run_path(str(ROOT / "docs" / "draw_schedules.py"))
    script["draw"](tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
