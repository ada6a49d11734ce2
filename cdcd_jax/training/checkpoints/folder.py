"""The folder of a run's checkpoints: its path, its steps, and a check that all hosts share it.

Of many hosts each writes its own parts of the arrays, so a folder of one host alone would keep
checkpoints that are never complete. Nothing here removes a checkpoint: what cannot be read is moved
to ``damaged/``, which Orbax ignores, since it may be storage that fails for a moment.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from cdcd_jax.distributed.agreement import all_agree, broadcast_from_host0
from cdcd_jax.io import check_local, is_first_host

DAMAGED = "damaged"
"""Folder below the checkpoints for those that could not be read when a training began."""


class CheckpointError(Exception):
    """An error that explains why a checkpoint could not be written or read."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence: an OSError becomes a CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error}") from error


def check_path(folder: Path) -> None:
    """Check that Orbax can read what it writes to a folder, whose path it takes for a pattern.

    Args:
        folder: Where a run or its checkpoints are to be.

    Raises:
        ValueError: If a part of its path, that of the current folder included, has other meanings.

    >>> check_path(Path("runs/100% of #3"))
    """
    check_local(folder)
    try:
        path = str(folder.absolute())
    except FileNotFoundError as error:
        raise ValueError("the current folder is no longer there; change to another") from error
    bad = sorted({letter for letter in path if letter in "*?[]\\" or not letter.isprintable()})
    if bad:
        raise ValueError(
            f"{path!a} has {', '.join(map(ascii, bad))} in its path, which checkpoints cannot "
            "be read back from; name the folder without it"
        )


def list_steps(folder: Path) -> list[int]:
    """List the steps of complete checkpoints, oldest first, without touching anything.

    Args:
        folder: The folder of checkpoints; it need not exist.

    Returns:
        Their steps. A checkpoint that is being written has another name until it is complete.

    Raises:
        OSError: If the folder cannot be listed.
    """
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if is_step(name))


def check_step(step: int, path: Path) -> None:
    """Raise a CheckpointError unless a checkpoint is named after the step that it holds.

    >>> check_step(4, Path("run/checkpoints/7"))
    Traceback (most recent call last):
    cdcd_jax.training.checkpoints.folder.CheckpointError: run/checkpoints/7 holds step 4; give it
    that name again
    """
    if str(step) != path.name:
        raise CheckpointError(f"{path} holds step {step}; give it that name again")


def is_step(name: str) -> bool:
    """Return whether a folder of this name is a complete checkpoint.

    >>> [is_step(name) for name in ("10", "010", "4.orbax-checkpoint-tmp", "४")]
    [True, False, False, False]
    """
    return name.isascii() and name.isdigit() and str(int(name)) == name


def set_aside(path: Path, name: str, checkpoints: Path) -> Path:
    """Move a checkpoint, or a part of one, out of the way.

    Args:
        path: What to move.
        name: What to call it.
        checkpoints: The folder of checkpoints, below which it goes to ``damaged/``.

    Returns:
        Where it is now.

    Raises:
        OSError: If it cannot be moved.
    """
    folder = checkpoints / DAMAGED
    folder.mkdir(exist_ok=True)
    number, place = 1, folder / name
    while place.exists():
        number += 1
        place = folder / f"{name}-{number}"
    return path.rename(place)


def prepare_folder(folder: Path) -> None:
    """Make the folder on the first host, and check that the others see what it has made.

    All hosts call it together.

    Args:
        folder: Where checkpoints are to lie.

    Raises:
        CheckpointError: If it cannot be made, or is another folder on another host.
    """
    failure, token = None, broadcast_from_host0([time.time_ns() % 2**31])[0]
    marker = folder / f"shared-{token}"
    if is_first_host():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _set_aside_unreadable_losses(folder)
            for left_behind in folder.glob("shared-*"):  # by a start that was killed here
                left_behind.unlink()
            if jax.process_count() > 1:
                marker.touch()
        except OSError as error:
            failure = error
    if not all_agree(failure is None):
        reason = failure or OSError("host 0 says why")
        raise CheckpointError(cannot_write(folder, reason)) from failure
    if jax.process_count() > 1:
        shared = all_agree(_appears(marker))
        if is_first_host():
            marker.unlink(missing_ok=True)
        if not shared:
            raise CheckpointError(
                f"{folder} is not the same folder on all hosts; give a --workdir on storage that "
                "they share"
            )


def _appears(file: Path, seconds: float = 10.0) -> bool:
    """Wait for a file that another host has made; network file systems show it with a delay."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        if file.parent.is_dir():
            os.listdir(file.parent)  # so that the listing on this host is renewed
        time.sleep(0.1)
    return True


def _set_aside_unreadable_losses(folder: Path) -> None:
    """Move files that keep Orbax from opening a folder; their checkpoints rank as worst."""
    for step in list_steps(folder):
        file = folder / str(step) / "metrics" / "metrics"
        if not file.exists():
            continue
        try:
            loss = json.loads(file.read_text(encoding="utf-8"))["loss"]
            readable = isinstance(loss, int | float) and not math.isnan(loss)
        except (ValueError, KeyError, TypeError, RecursionError):
            readable = False
        if not readable:
            set_aside(file.parent, f"metrics-{step}", folder)


def cannot_write(folder: Path, error: BaseException) -> str:
    """Describe an error, and that complete checkpoints are kept."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return (
        f"Checkpoints cannot be written to {folder} ({reason[:300]}); complete ones there are "
        "untouched, so free some space or give another --workdir and run the same command again"
    )
