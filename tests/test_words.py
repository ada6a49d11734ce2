"""Private words of earlier versions are not used again, in names, docstrings, messages or docs."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cdcd_jax"
PRIVATE = (
    *("whole_file", "whole_folder", "housekeeping", "make_fingerprint", "check_fingerprint"),
    *("call_roll", "rollcall", "first_hosts_word", "let_others_speak", "last_words"),
    *("spread_rows", "rehears", "scorer", "judge_", "_judge", "accompany"),
    *("picture", "imagine_", "told_", "_told", "_unless"),
)
NAMES = ("judge", "judges", "told", "asked", "sight", "guess", "guesses", "perform", "accompany")
KEYS = {"num_judged", "num_pictures", "digit_pictures"}
"""Keys of configurations, whose names stay."""

PROSE = re.compile(
    r"\b(told|telling|judges?|judged|pictures?|stand-ins?|asked for|is there already|goes on"
    r"|lies (in|on|beside)|must lie|may lie|whole or not at all|no finite number|if need be"
    r"|of no (use|influence|matter)|(?<!here )is no (file|folder|key|image|codec|complete))\b",
    re.IGNORECASE,
)
"""Phrases for which the field has a plainer one."""


def pages():
    """List the pages, configurations and scripts that users read."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return [*found, *(ROOT / "configs").glob("*.py"), *(ROOT / "launch").iterdir()]


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.stem)
def test_no_name_and_no_sentence_has_a_private_word(file):
    text = file.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        place = f"line {token.start[0]}"
        if token.type == tokenize.NAME and token.string not in KEYS:
            name = token.string.lower()
            assert not any(word in name for word in PRIVATE), f"{place}: {name}"
            assert name not in NAMES, place
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            found = PROSE.search(token.string)
            assert found is None, f"{place}: {found[0]}"


@pytest.mark.parametrize("file", sorted(pages()), ids=lambda file: file.name)
def test_no_page_has_a_private_word(file):
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        found = PROSE.search(line)
        assert found is None, f"line {number}: {found[0]}"
