"""What the package is as an installed distribution."""

import re
import tomllib
from pathlib import Path

import cdcd_jax as cdcd
from cdcd_jax import main

ROOT = Path(__file__).parents[1]


def test_the_version_has_one_place():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in settings["project"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cdcd_jax.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", cdcd.__version__)


def test_the_console_script_is_the_module():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"cdcd": "cdcd_jax.main:run_command"}
    assert main.run_command.__doc__


def test_type_checkers_of_others_read_the_annotations():
    package = Path(cdcd.__file__).parent
    assert (package / "py.typed").is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["cdcd_jax"]
