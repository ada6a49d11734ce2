"""docs/configuration.md explains every key, from the comments beside them."""

import runpy
from pathlib import Path

import pytest

from cdcd_jax.settings.config_file import load_config

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "describe_configuration.py"))


def test_the_page_is_what_the_script_writes():
    page = SCRIPT["PAGE"].read_text(encoding="utf-8")
    assert page == SCRIPT["describe"](), "run python docs/describe_configuration.py"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem
)
def test_every_key_is_explained(file):
    explained = dict(SCRIPT["_explanations"]())
    config = load_config(str(file))
    missing = [
        f"{section}.{key}"
        for section in config
        for key in config[section]
        if (section, key) not in explained and section != "codec_optimizer"
    ]
    assert not missing, "a comment above the key explains it, see cdcd_jax/configs/"


def test_a_comment_is_the_explanation_of_the_line_below_it():
    above = SCRIPT["_comment_above"]
    lines = ["x = {", "    # One", "    # sentence.", '    "key": 1,', '    "other": 2,']
    assert above(lines, 4) == "One sentence."
    assert above(lines, 5) == ""
