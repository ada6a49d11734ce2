"""Private words of earlier versions are not used for names again."""

import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cdcd_jax"
PRIVATE = (
    *("whole_file", "whole_folder", "housekeeping", "make_fingerprint", "check_fingerprint"),
    *("call_roll", "rollcall", "first_hosts_word", "let_others_speak", "last_words"),
    *("spread_rows", "rehears", "scorer", "judge_", "_judge", "accompany"),
)
KEYS = {"num_judged"}
"""Keys of configurations, whose names stay."""


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.stem)
def test_no_name_is_a_private_word(file):
    text = file.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string not in KEYS:
            name = token.string.lower()
            assert not any(word in name for word in PRIVATE), f"line {token.start[0]}: {name}"
            assert name not in ("judge", "judges"), f"line {token.start[0]}"
