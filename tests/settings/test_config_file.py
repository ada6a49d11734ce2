"""Configurations of one's own that are broken: file, line and what is wrong."""

import os
import re
import sys
from pathlib import Path

import pytest

from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.settings.config_file import ConfigFileError, check_overrides, load_config

ROOT = Path(__file__).parents[2]
BASE = "from configs import digits_vanilla\nconfig = digits_vanilla.get_config('smoke')\n"
GET = "def get_config(arg=''):\n    "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GET}return {{\n", r"mine.py, line 2: '\{' was never closed"),
        (f"{GET}return foo\n", r"mine.py, line 2 \(return foo\): NameError: name 'foo' is not"),
        ("import none_such\n", r"mine.py, line 1 \(.*\): ModuleNotFoundError: No module named"),
        ("from configs import none_such\n", r"mine.py, line 1 \(.*\): ImportError"),
        ("x = 1\n", r"mine.py has no function get_config"),
        (f"{GET}return 3\n", r"get_config must return an ml_collections.ConfigDict, .* 3, a int"),
        (f"{GET}return\n", r"returned None, a NoneType"),
        (f"{GET}return {{}}\n", r"returned \{\}, a dict"),
        (f"{GET}raise RuntimeError('a\\nb')\n", r"mine.py, line 2 \(.*\): RuntimeError: a b"),
        (f"{GET}raise ValueError('odd')\n", r"mine.py, line 2 \(.*\): odd"),
        (f"{GET}return get_config()\n", r"mine.py, line 2 \(.*\): RecursionError: maximum"),
        ("import sys\nsys.exit('bye')\n", r"mine.py, line 2 \(.*\): SystemExit: bye"),
        ("raise KeyboardInterrupt\n", r"mine.py, line 1 \(.*\): KeyboardInterrupt"),
        (
            f"{GET}open('/none/such')\n",
            r"mine.py, line 2 \(.*\): FileNotFoundError: No .*such",
        ),
        ("def get_config(a, b):\n    pass\n", r"mine.py: TypeError: get_config\(\) missing"),
        (f"{BASE}config.train = 3\n", r"mine.py, line 3 \(config.train = 3\): TypeError"),
        (
            f"{BASE}config.lock().train.num_stpes = 3\n",
            r'mine.py, line 3 \(.*\): AttributeError: .*Key "num_stpes" .* mean "num_steps"',
        ),
        ("x = 1\0", r"mine.py: source code string cannot contain null bytes"),
        (b"x = '\xff'\n", r"mine.py, line 1: .*utf-8"),
    ],
)
def test_a_broken_file_names_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigFileError, match=message) as raised:
        load_config("mine.py")
    assert "\n" not in str(raised.value)


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    for name, message in (
        ("none.py", "No such file or directory"),
        ("", "is a folder"),
        ("pipe.py", "is not a file of Python"),
        ("x" * 5000, "File name too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(ConfigFileError, match=message) as raised:
            load_config(f"{tmp_path}/{name}")
        assert len(str(raised.value)) < 600
    with pytest.raises(ConfigFileError, match=r"^--config= is empty; give a file such as configs/"):
        load_config("")
    with pytest.raises(ConfigFileError, match=r"^--config=:smoke names no file; give a file such"):
        load_config(":smoke")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.traln.num_steps=3", "there is no section traln: did you mean train?"),
        ("-config.train.num_stpes=3", "train.num_stpes is not a key: did you mean num_steps?"),
        (
            "--noconfig.train.importance",
            "train.importance is not a key: did you mean importance_sa",
        ),
        ("--config..train=2", "there is no section : there are codec, "),
        ("--config.train.seed.x=2", "train.seed is not a section, and has no key x"),
        ("--config.optimizer.b3=2", "optimizer.b3 is not a key: there are b1, b2, "),
        ("--config.mesh.rules[0]=2", None),
    ],
)
def test_misspelt_overrides_are_named(override, message, monkeypatch):
    config = load_config("configs/digits_vanilla.py:smoke")
    if message is None:
        check_overrides(config, [override])
        return
    monkeypatch.setattr(sys, "argv", ["main", override])
    with pytest.raises(ConfigFileError, match=re.escape(message)):
        FLAGS["config"].parser.parse("configs/digits_vanilla.py:smoke")


def test_a_file_imports_its_neighbours_from_any_folder(tmp_path, monkeypatch):
    folder = tmp_path / "experiments_of_mine"
    folder.mkdir()
    (folder / "beside_mine.py").write_text("from cdcd_jax.configs import common\n")
    (folder / "mine.py").write_text(
        "import beside_mine\nfrom experiments_of_mine import beside_mine as same\n"
        "def get_config():\n    import beside_mine_too\n    return same.common.get_config()\n"
    )
    (folder / "beside_mine_too.py").write_text("")
    monkeypatch.chdir("/")
    before = list(sys.path)
    assert load_config(f"{folder}/mine.py").train.seed == 0
    assert sys.path == before


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*.py")), ids=lambda file: file.stem
)
def test_every_experiment_loads_where_only_the_package_is_installed(file, monkeypatch):
    monkeypatch.chdir("/")
    paths = [path for path in sys.path if path and Path(path).resolve() != ROOT]
    monkeypatch.setattr(sys, "path", paths)
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    load_config(str(file))
