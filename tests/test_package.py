"""What the package is as an installed distribution."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("package", cdcd._PACKAGES)
def test_packages_are_attributes_and_have_the_names_they_list(package):
    module = getattr(cdcd, package)
    assert module is importlib.import_module(f"cdcd_jax.{package}")
    assert f"- ``{package}``: " in cdcd.__doc__
    values = [getattr(module, name) for name in dir(module) if name[0] != "_"]
    assert sum(callable(value) for value in values) >= 2
    assert all(callable(value) or inspect.ismodule(value) for value in values)


def test_the_package_is_imported_without_its_packages(fork_server, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "for name in [name for name in sys.modules if name.startswith('cdcd_jax')]:\n"
        "    del sys.modules[name]\n"
        "import cdcd_jax\n"
        "print(*sorted(name for name in sys.modules if name.count('.') == 1 "
        "and name.startswith('cdcd_jax.')))\n"
    )
    process = fork_server.popen([], program=program, stdout=tmp_path / "output.txt")
    assert process.finish().split() == [
        *("cdcd_jax.checks", "cdcd_jax.diffusion", "cdcd_jax.lazy"),
        *("cdcd_jax.registry", "cdcd_jax.typing"),
    ]
