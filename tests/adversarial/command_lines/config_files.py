"""Configuration files of a user's own that cannot be read, run or used."""

from collections.abc import Iterator
from pathlib import Path

from tests.adversarial.cases import Case
from tests.adversarial.commands import ROOT, TINY, command, trained_run

HEAD = "from configs import digits_sample_inter\n\n\n"
BASE = HEAD + "def get_config(arg=''):\n    config = digits_sample_inter.get_config('smoke')\n"


def mine(*lines: str) -> dict[str, str]:
    """Write a file ``mine.py`` that changes the smoke configuration by some lines."""
    return {"mine.py": BASE + "".join(f"    {line}\n" for line in lines) + "    return config\n"}


BROKEN = {
    "a syntax error": ("def get_config(:\n    pass\n", ("mine.py", "line 1")),
    "an indentation error": ("def get_config(arg=''):\nreturn 3\n", ("mine.py", "line 2")),
    "an open bracket": (BASE + "    x = (1,\n", ("mine.py", "line")),
    "tabs and spaces": ("if True:\n        a = 1\n\tb = 2\n", ("mine.py", "line 3")),
    "a name that is not there": (BASE + "    return cfg\n", ("mine.py", "line 6", "cfg")),
    "a name at the top": ("config = undefined\n", ("mine.py", "line 1", "undefined")),
    "an import that is not there": ("import nonesuch\n", ("mine.py", "line 1", "nonesuch")),
    "an import of what is not in it": (
        "from configs import nonesuch\n",
        ("mine.py", "line 1", "nonesuch"),
    ),
    "a division by zero": (BASE + "    config.train.seed = 1 // 0\n", ("mine.py", "line 6")),
    "an attribute of None": (BASE + "    config = None\n    config.train = 3\n", ("mine.py", "7")),
    "an assertion": (BASE + "    assert False, 'not today'\n", ("mine.py", "not today")),
    "recursion without end": ("def get_config():\n    return get_config()\n", ("mine.py",)),
    "an exit": ("import sys\nsys.exit(3)\n", ("mine.py",)),
    "an exit with 0": ("raise SystemExit\n", ("mine.py",)),
    "an interrupt": ("raise KeyboardInterrupt\n", ("mine.py",)),
    "an error of its own": (
        "class Mine(BaseException):\n    pass\n\nraise Mine('of its own')\n",
        ("mine.py",),
    ),
    "no get_config": ("x = 3\n", ("mine.py", "get_config")),
    "get_config that is not a function": ("get_config = 3\n", ("mine.py", "get_config")),
    "get_config of two arguments": ("def get_config(a, b):\n    return a\n", ("mine.py",)),
    "an empty file": ("", ("mine.py", "get_config")),
    "nothing returned": ("def get_config(arg=''):\n    pass\n", ("mine.py", "None")),
    "a dict returned": ("def get_config(arg=''):\n    return {'train': {}}\n", ("mine.py", "dict")),
    "a list returned": ("def get_config(arg=''):\n    return [1]\n", ("mine.py", "list")),
    "a number returned": ("def get_config(arg=''):\n    return 3\n", ("mine.py",)),
    "an empty configuration returned": (
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()\n",
        ("section",),
    ),
    "bytes that are not text": (b"\x89PNG\r\n\x1a\n\xff\xfe", ("mine.py",)),
    "zero bytes": (b"x = 1\0\n", ("mine.py",)),
    "UTF-16": ("def get_config(): pass\n".encode("utf-16"), ("mine.py",)),
    "Latin-1": ("# é\ndef get_config(): pass\n".encode("latin-1"), ("mine.py",)),
    "YAML": ("train:\n  batch_size: 3\n", ("mine.py", "line")),
    "JSON": ('{"train": {"batch_size": 3}}', ("mine.py", "get_config")),
    "3,000 brackets": ("(" * 3000 + ")" * 3000, ("mine.py",)),
}
"""What the file is -> its content, and what the sentence must name."""

CHANGED = {
    "config.train.num_stpes = 3": ("num_stpes", "num_steps"),
    "config.tarin = {'seed': 3}": ("tarin", "train"),
    "config.optimizer.learning_rate = 3.0": ("learning_rate",),
    "config.loss.chain = 'shared'": ("loss.chain", "chains"),
    "config.mesh.fdsp = 2": ("fdsp", "fsdp"),
    "config.sample.temprature = 1.0": ("temprature", "temperature"),
    "config.eval.num_sample = 3": ("num_sample",),
    "config.data.path = '/somewhere'": ("data.path",),
    "config.codec.weights = 'x.ckpt'": ("codec.weights",),
    "config.train.more = {'deeper': 1}": ("train.more",),
    "config.train = 3": ("train",),
    "del config.train": ("train",),
    "del config.sample": ("sample",),
    "del config.train.seed": ("train.seed",),
    "del config.optimizer.lr": ("optimizer.lr",),
    "config.train.batch_size = '16'": ("train.batch_size",),
    "config.train.batch_size = 16.5": ("train.batch_size",),
    "config.train.batch_size = float('nan')": ("train.batch_size",),
    "config.train.batch_size = None": ("train.batch_size",),
    "config.optimizer.lr = 'fast'": ("optimizer.lr",),
    "config.optimizer.lr = float('inf')": ("optimizer.lr",),
    "config.optimizer.lr = 1j": ("optimizer.lr",),
    "config.optimizer.lr = lambda step: 1e-3": ("optimizer.lr",),
    "config.eval.truncations = ()": ("eval.truncations",),
    "config.eval.truncations = (0.5, 'x')": ("eval.truncations",),
    "config.eval.num_steps = [2, 2.5]": ("eval.num_steps",),
    "config.train.seed = 2**64": ("train.seed",),
    "config.train.importance_sampling = 'no'": ("importance_sampling",),
    "config['with space'] = {'a': 1}": ("with space",),
    "config.train['with.dot'] = 1": ("with.dot",),
}
"""A line in a copy of the smoke configuration -> what the sentence must name."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for name, (content, says) in BROKEN.items():
        yield command(f"configuration: {name}", config="mine.py", files={"mine.py": content},
                      says=says)  # fmt: skip
    for line, says in CHANGED.items():
        yield command(f"in a configuration: {line}", config="mine.py", files=mine(line), says=says)
    for name, path, says in (
        ("not there", "nowhere/mine.py", "nowhere/mine.py"),
        ("a folder", ".", "is a"),
        ("a folder of configurations", f"{ROOT}/configs", "configs"),
        ("no Python by its name", f"{ROOT}/README.md", "README.md"),
        ("without its suffix", f"{ROOT}/configs/digits_vanilla", "digits_vanilla"),
        ("a module's name", "configs.digits_vanilla", "configs.digits_vanilla"),
        ("of 5,000 letters", "x" * 5000 + ".py", "config"),
        ("with a zero of the shell's", "mine.py\udcff", "mine.py"),
        ("a device", "/dev/null", "/dev/null"),
        ("a URL", "https://localhost/mine.py", "https"),
        ("in a bucket", "gs://bucket/mine.py", "gs://bucket/mine.py"),
        ("of an unknown variant", f"{ROOT}/configs/digits_vanilla.py:smoke2", ":smoke2"),
        ("of an empty variant's colon and more", f"{ROOT}/configs/digits_vanilla.py::", ":"),
        ("of a variant of another's", f"{ROOT}/configs/digits_vanilla.py:4s", "4s"),
        ("of no experiment", f"{ROOT}/cdcd_jax/configs/miniature.py", "get_config"),
    ):
        yield command(f"a configuration that is {name}", config=path, says=says)
    yield command("a configuration that is a loop of links", config="mine.py", says="mine.py",
                  prepare=lambda folder: (folder / "mine.py").symlink_to("mine.py"))  # fmt: skip
    yield command("a configuration that cannot be read", config="mine.py", says="mine.py",
                  prepare=lambda folder: (folder / "mine.py").mkdir())  # fmt: skip
    yield command("a configuration that waits forever", config="mine.py", says="mine.py",
                  files={"mine.py": "input()\n"})  # fmt: skip
    yield from _taken()


def _taken() -> Iterator[Case]:
    sample = ("--mode=sample", *TINY, "--num_samples=2")
    taken = {
        "a byte order mark": ("mine.py", b"\xef\xbb\xbf"),
        "a name with spaces": ("my own.py", b""),
        "a name beyond ASCII": ("meine_über.py", b""),
        "a folder": ("folder/deeper/mine.py", b""),
        "lines of Windows": ("mine.py", b"# windows\r\n"),
    }
    content = "".join(mine().values()).encode()
    for name, (path, before) in taken.items():
        yield command(f"a configuration with {name}", *sample, config=path, codes=0,
                      files={path: before + content}, prepare=trained_run)  # fmt: skip
    yield command("a configuration by its whole path", *sample, codes=0, prepare=trained_run)
    yield command("a configuration without an argument", *sample, config="mine.py", codes=0,
                  files={"mine.py": content.decode().replace("arg=''", "")},
                  prepare=trained_run)  # fmt: skip
    yield command("a configuration that prints", *sample, config="mine.py", codes=0, says="hello",
                  files=mine("print('hello')"), prepare=trained_run)  # fmt: skip
    yield command("a default folder", "--mode=sample", config="mine.py", workdir=None, codes=1,
                  files=mine(), says=str(Path("runs/mine")))  # fmt: skip
