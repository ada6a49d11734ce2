"""Checks of the command line before anything else runs."""

import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import config_flags

from cdcd_jax.cli.flags import FLAGS, PATHS, USES
from cdcd_jax.experiment.check import check_settings
from cdcd_jax.io import check_local
from cdcd_jax.settings.config_file import EXAMPLE, ConfigFileError
from cdcd_jax.training.checkpoints.folder import check_path
from cdcd_jax.visualization.export import check_export

NO_CONFIG = f"no configuration is given; add --config=FILE, such as --config={EXAMPLE}"

MAX_DRAWN = 10_000
"""Samples in one image, which are in memory together."""


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parse as absl does, with one sentence where it would show a traceback or the whole usage.

    Args:
        argv: The command line.

    Returns:
        What is left of it.

    Raises:
        ValueError: If a flag or the configuration is wrong.
    """
    try:
        rest = FLAGS(list(argv))
    except ConfigFileError as error:
        raise ValueError(str(error)) from error
    except UnicodeDecodeError as error:
        files = [argument for argument in argv if "flagfile" in argument]
        raise ValueError(
            f"{' '.join(files)} is not a text in UTF-8; write one flag a line"
        ) from error
    except (flags.Error, KeyError, TypeError, ValueError, OSError) as error:
        overridden = getattr(error, "flagname", "").partition(".")[0] in ("config", "noconfig")
        if overridden and FLAGS["config"].value is None:
            raise ValueError(NO_CONFIG) from error
        raise ValueError(_explain(error)) from error
    if len(rest) > 1:
        raise ValueError(f"there is no argument {rest[1]!r}; flags begin with --")
    describes_itself = FLAGS.mode in ("sample", "edit", "evaluate") and FLAGS.workdir
    if FLAGS.config is None and describes_itself and not _is_evaluating_published():
        return rest
    if FLAGS.config is None:
        raise ValueError(NO_CONFIG)
    try:
        check_settings(FLAGS.config, for_codec=True)
    except ValueError as error:
        file = config_flags.get_config_filename(FLAGS["config"])
        raise ValueError(f"{file}: {error}") from error
    return rest


def _is_evaluating_published() -> bool:
    return FLAGS.mode == "evaluate" and bool(FLAGS.reference_checkpoint)


def _explain(error: Exception) -> str:
    """Describe on one line what absl refuses; of a number or a switch, with what it may be."""
    words = _on_one_line(error.args[0] if error.args else error).removeprefix("ERROR:: ")
    flag = re.match(r"flag --([^=]+)=", words)
    if flag is None or flag[1] not in FLAGS:
        return words
    parser = FLAGS[flag[1]].parser
    possible = "true or false" if isinstance(parser, flags.BooleanParser) else parser.syntactic_help
    given = words.removeprefix("flag ").removesuffix(f": {_on_one_line(error.__context__)}")
    return f"{given} must be {possible}" if possible else words


def _on_one_line(words: object) -> str:
    return " ".join(str(words).split())


def check_flags() -> None:
    """Raise a ValueError for flags that nothing would read, and for values that cannot be."""
    given = [name for name in USES if _is_given(name)]
    for name in given:
        _check_use(name, given)
        value = FLAGS[name].value
        if isinstance(value, str) and not value.strip():
            raise ValueError(f"{name} is empty; give a value or leave it out")
        if name in PATHS and isinstance(value, str):
            _check_local(name, value)
        largest = float(np.finfo(np.float32).max)
        if isinstance(value, float) and not (math.isfinite(value) and abs(value) <= largest):
            raise ValueError(f"{name} = {value} must be a finite number, of float32")
    if not FLAGS.export and (FLAGS.num_samples or 0) > MAX_DRAWN:
        raise ValueError(
            f"num_samples = {FLAGS.num_samples}: one image holds at most {MAX_DRAWN}; add "
            "--export=FOLDER, which takes any number"
        )
    if FLAGS.workdir:
        check_path(Path(FLAGS.workdir))
        check_folder(Path(FLAGS.workdir))
    _check_outputs()


def check_folder(workdir: Path) -> None:
    """Raise a ValueError if a path cannot be a folder because of a file that is there.

    Args:
        workdir: Folder of a run, which need not be there.

    >>> check_folder(Path("/proc/version/run"))
    Traceback (most recent call last):
    ValueError: workdir = /proc/version/run: /proc/version is not a folder; give another path
    """
    try:
        there = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
    except OSError as error:
        raise ValueError(f"workdir = {workdir}: {error.strerror}") from error
    if not there.is_dir():
        which = "" if there == workdir else f": {there}"
        raise ValueError(f"workdir = {workdir}{which} is not a folder; give another path")


def _check_local(name: str, path: str) -> None:
    try:
        check_local(path)
    except ValueError as error:
        raise ValueError(f"{name} = {error}") from error


def _is_given(name: str) -> bool:
    flag = FLAGS[name]
    return not flag.using_default_value and not (flag.value is False or flag.value in (None, []))


def _check_use(name: str, given: Sequence[str]) -> None:
    use, mode = USES[name], FLAGS.mode
    if mode not in use.modes:
        raise ValueError(f"{name} is not read by --mode={mode}: {use.instead}")
    if use.needs and use.needs not in given:
        raise ValueError(f"{name} needs --{use.needs}=FILE")
    for other in use.without:
        if other in given:
            raise ValueError(f"{name} is not read with --{other}; leave one of them out")


def _check_outputs() -> None:
    """Check names and folders of the files that are to be written."""
    if FLAGS.export:
        check_export(Path(FLAGS.export))
    for name, suffix in (("audio_out", ".wav"), ("video_out", ".mp4")):
        path = FLAGS[name].value
        if path and Path(path).suffix != suffix:
            raise ValueError(f"{name} = {path} must end in {suffix}")
    for name in ("export", "audio_out", "video_out"):
        if path := FLAGS[name].value:
            check_writable(name, Path(path))


def check_writable(name: str, path: Path) -> None:
    """Raise a ValueError unless a file can be written to a path, whose folders need not be there.

    Args:
        name: The flag that names it.
        path: A file.

    >>> check_writable("audio_out", Path("/proc/version/a.wav"))
    Traceback (most recent call last):
    ValueError: audio_out = /proc/version/a.wav: /proc/version is not a folder; give another path
    """
    try:
        if path.is_dir():
            raise ValueError(f"{name} = {path} is a folder; give the name of a file in it")
        above = next(folder for folder in path.absolute().parents if folder.exists())
    except OSError as error:
        raise ValueError(f"{name} = {path}: {error.strerror}; give another path") from error
    if not above.is_dir():
        raise ValueError(f"{name} = {path}: {above} is not a folder; give another path")
    try:
        # Rights are not enough: nobody can make a file in /proc.
        tempfile.TemporaryFile(dir=above).close()
    except OSError as error:
        raise ValueError(
            f"{name} = {path}: {above} cannot be written to ({error.strerror}); give another path"
        ) from error
