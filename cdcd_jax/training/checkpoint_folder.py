"""The folder that checkpoints lie in: the same for all hosts, and what is said when it is not.

Of many hosts each writes its own parts of the arrays, so a folder of one host alone would keep
checkpoints that are never complete.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from cdcd_jax.files import is_first_host
from cdcd_jax.training.agreement import all_agree, first_hosts_word


class CheckpointError(Exception):
    """Say in one sentence why a checkpoint could not be written or read."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence: an OSError becomes a CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error}") from error


def prepare_folder(folder: Path) -> None:
    """Make the folder on the first host, and check that the others see what it has made.

    All hosts call it together.

    Args:
        folder: Where checkpoints are to lie.

    Raises:
        CheckpointError: If it cannot be made, or is another folder on another host.
    """
    failure, token = None, first_hosts_word([time.time_ns() % 2**31])[0]
    marker = folder / f"shared-{token}"
    if is_first_host():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _drop_unreadable_losses(folder)
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


def _drop_unreadable_losses(folder: Path) -> None:
    """Remove files that would keep Orbax from opening a folder; their checkpoints rank as worst."""
    for file in folder.glob("*/metrics/metrics"):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            shutil.rmtree(file.parent)


def cannot_write(folder: Path, error: BaseException) -> str:
    """Say what went wrong and that what was complete stays."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return (
        f"Checkpoints cannot be written to {folder} ({reason[:300]}); complete ones there are "
        "untouched, so free some space or give another --workdir and run the same command again"
    )
