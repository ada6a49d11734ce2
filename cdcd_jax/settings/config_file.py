"""Configuration files: Python files that ``--config`` names, and their errors.

Sentences name the file and the line, which is the user's own code however deep an error came up.
"""

import dataclasses
import re
import stat
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from textwrap import shorten
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict

from cdcd_jax.diffusion.samplers import sample  # noqa: F401  which registers samplers
from cdcd_jax.registry import CORRECTORS, SAMPLERS, suggest

MODULE = "config_of_command_line"
MAX_BYTES = 1 << 20
"""Size of a configuration; those of this repository have some 5 KB."""

EXAMPLE = "configs/digits.py:sample_inter"


class ConfigFileError(Exception):
    """An error that explains why a configuration cannot be read."""


class ConfigFileParser(flags.ArgumentParser):
    """The value of ``--config``: a file's ``get_config()``, with locked keys.

    Unlike ml_collections' own, whose place it takes, it says what is wrong in one sentence, and
    checks the names of ``--config.section.key`` on the command line.
    """

    def parse(self, argument: str) -> ConfigDict:
        """Load a configuration, as ``FILE`` or ``FILE:VARIANTS`` names it."""
        config = load_config(argument)
        argv = flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False)
        add_sampler_options(config, argv)
        check_overrides(config, argv)
        return config


def load_config(argument: str) -> ConfigDict:
    """Run a configuration file.

    Args:
        argument: ``FILE`` or ``FILE:VARIANTS``; the variants are given to ``get_config``.

    Returns:
        What its ``get_config`` returns, locked.

    Raises:
        ConfigFileError: If there is no such file, it raises, or returns something else.
    """
    name, *variant = argument.split(":", 1)
    shown = shorten(argument, 200)
    if not name.strip():
        what = "names no file" if argument.strip() else "is empty"
        raise ConfigFileError(f"--config={shown} {what}; give a file such as {EXAMPLE}")
    try:
        found = Path(name).stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigFileError(
            f"--config={shown}: {reason}; give the path of a file such as {EXAMPLE}"
        ) from error
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "is not a file of Python"
        raise ConfigFileError(f"--config={shown} {what}; give a file such as {EXAMPLE}")
    try:
        with _importing_neighbours(Path(name)):
            module = _run_file(name)
            if not callable(getattr(module, "get_config", None)):
                raise ConfigFileError(
                    f"{shown} has no function get_config to return the configuration; see {EXAMPLE}"
                )
            config = module.get_config(*variant)
    except ConfigFileError:
        raise
    except BaseException as error:  # also the file's own SystemExit
        raise ConfigFileError(_explain(error, name, shown)) from error
    if not isinstance(config, ConfigDict):
        raise ConfigFileError(
            f"{shown}: get_config must return an ml_collections.ConfigDict, and returned "
            f"{shorten(repr(config), 40)}, a {type(config).__name__}; see {EXAMPLE}"
        )
    return config.lock()


def add_sampler_options(config: Any, argv: Sequence[str]) -> None:
    """Add the options of samplers and correctors that a command line sets, with their defaults.

    They are keys of the section ``sample`` beside ``sampler`` and ``corrector``, which have too
    many for a base configuration to list.
    """
    named = {m[1] for each in argv if (m := re.match(r"--?(?:no)?config\.sample\.(\w+)", each))}
    named -= {*config.get("sample", named)}
    if not named:
        return
    with config.unlocked():
        for table in (SAMPLERS, CORRECTORS):
            for part in table.values():
                for field in dataclasses.fields(part):
                    if field.name in named:
                        config.sample[field.name] = (
                            config_dict.placeholder(tuple if field.name == "grid" else int)
                            if field.default is None
                            else field.default
                        )


def check_overrides(config: Any, argv: Sequence[str]) -> None:
    """Check that every ``--config.section.key`` of a command line is there.

    Raises:
        ConfigFileError: If one is not, with the one that may be meant.

    >>> check_overrides(ConfigDict({"train": {"seed": 0}}), ["--config.train.sed=1"])
    Traceback (most recent call last):
    cdcd_jax.settings.config_file.ConfigFileError: train.sed is not a key: did you mean seed?
    """
    for argument in argv:
        matched = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        section: Any = config
        above: list[str] = []
        for part in matched[1].split(".") if matched else ():
            key = part.partition("[")[0]
            path = ".".join([*above, key])
            if not hasattr(section, "keys"):
                raise ConfigFileError(f"{'.'.join(above)} is not a section, and has no key {key}")
            if key not in section:
                what = (
                    f"{shorten(path, 80)} is not a key" if above else f"there is no section {key}"
                )
                raise ConfigFileError(f"{what}: {suggest(key, section)}")
            section, above = section[key], [*above, key]


def default_workdir(config_file: str) -> str:
    """Name the folder of a run after its configuration.

    Args:
        config_file: As given to ``--config``, with the variant if any.

    Returns:
        A relative path.

    >>> default_workdir("configs/digits.py:sample_inter,smoke")
    'runs/digits-sample_inter-smoke'
    """
    path, _, variants = config_file.partition(":")
    return "-".join([f"runs/{Path(path).stem}", *filter(None, variants.split(","))])


@contextmanager
def _importing_neighbours(file: Path) -> Iterator[None]:
    """Make a configuration import files beside it: by name, or as ``from FOLDER import NAME``.

    Neither depends then on the folder that the command is run in.
    """
    folder = file.absolute().parent
    added = [str(folder.parent), str(folder)]
    sys.path[:0] = added
    try:
        yield
    finally:
        for path in added:
            with suppress(ValueError):  # the file itself may have removed it
                sys.path.remove(path)


def _run_file(name: str) -> Any:
    loader = SourceFileLoader(MODULE, name)
    spec = spec_from_loader(MODULE, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[MODULE] = module  # as dataclasses and pickle want it
    # From the source: what is cached may be of another file in its place.
    exec(compile(loader.get_data(name), name, "exec", dont_inherit=True), module.__dict__)
    return module


def _explain(error: BaseException, name: str, shown: str) -> str:
    """Describe what a configuration raised, and on which line."""
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"{error.filename or shown}{line}: {error.msg}"
    place, words = next(_own_lines(error, name), shown), error.args[0] if error.args else ""
    while isinstance(words, Exception):  # ml_collections wraps one in another
        words = words.args[0] if words.args else ""
    words = str(words)
    if isinstance(error, OSError):
        words = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    # ml_collections lists all keys where one is misspelt, and then the one that may be meant.
    words = " ".join(re.sub(r' Other fields present: ".*?"\n', " ", words, flags=re.DOTALL).split())
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{place}: {kind}{shorten(words, 300)}" if words else f"{place}: {kind[:-2]}"


def _own_lines(error: BaseException, name: str) -> Iterator[str]:
    """Find the lines of a configuration, and of those it imports, that an error came up in."""
    libraries = [sysconfig.get_path(part) for part in ("stdlib", "purelib", "platlib")]
    others = ("<", str(Path(__file__).parents[1]), *libraries)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == name or not frame.filename.startswith(others):
            yield f"{frame.filename}, line {frame.lineno} ({shorten(frame.line or '', 80)})"
