"""The lock of a run's folder: a file that says which process writes to it.

A lock of a process of this machine is stale when there is no such process any more. Of another
machine only the lock's file can be looked at: its owner renews it every ``RENEWAL`` seconds. That
is noticed by watching its time of change, and timed by the watcher's own monotonic clock, so that
no two clocks need to agree.
"""

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.distributed.agreement import broadcast_from_host0
from cdcd_jax.io import create_file
from cdcd_jax.training.checkpoints.folder import CheckpointError, cannot_write, check_path
from cdcd_jax.training.checkpoints.locked_folder import LockedFolder, describe_folder, is_copied
from cdcd_jax.training.checkpoints.owner import describe_owner, describe_process, is_gone, read_lock

LOCK = "lock.json"
"""Name of the file in the folder of a run."""

RENEWAL = 10.0
"""Seconds between two renewals of a lock."""

BOUND = 120.0
"""Seconds without a renewal after which the lock of another machine is stale."""

LEAST_WATCHED = 3 * RENEWAL
"""Seconds to watch a lock at least, however old it seems: the clock of a server may jump."""


class FolderInUseError(CheckpointError):
    """An error that names the other process that writes to the folder of a run."""


class RunLock:
    """The lock of a folder, held by this process from ``acquire`` to ``release``.

    Args:
        folder: The folder of a run.
        report: Called with a sentence when a stale lock is taken over or watched.
    """

    def __init__(self, folder: Path, *, report: Callable[[str], None] = print):
        self.path = folder / LOCK
        self._report, self._ours = report, describe_process()
        self._watched: tuple[Any, float, float] | None = None
        self._made: list[Path] = []
        self._ended, self._renewing = threading.Event(), threading.Lock()
        self._lost: str | None = None
        self._folder: LockedFolder | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free; call again after a second if it is in doubt.

        Returns:
            Whether it is taken now; False while another machine's lock must be watched.

        Raises:
            FolderInUseError: If another process has it.
            CheckpointError: If what is there cannot be read as a lock.
            OSError: If it cannot be written.
        """
        self._make_folder()
        self._ours |= describe_folder(self.path.parent)
        if self._create(self.path):
            self._begin()
            return True
        found = _read_lock(self.path)
        if found is None:
            return False  # released just now
        owner, renewed = found
        stale = self._find_stale(owner, renewed)
        if stale is None:
            return False
        if self._replace(owner):
            self._report(f"Taking over the lock of {describe_owner(owner)}, which {stale}.")
            self._begin()
            return True
        return False

    def check(self) -> None:
        """Check, before something is written, that the lock is still this process's.

        Raises:
            FolderInUseError: If another process has taken it, or the folder was moved.
        """
        if self._lost is None:
            self._renew()
        if self._lost is not None:
            raise FolderInUseError(self._lost)

    def release(self) -> None:
        """Remove the lock if it is this process's, and the folder if it is new and empty."""
        self._ended.set()
        if os.getpid() != self._ours["pid"]:
            return  # in a fork of it
        # Not forever: a signal may come while this very thread renews it.
        renewed = self._renewing.acquire(timeout=1.0)
        with suppress(OSError):
            found = read_lock(self.path)
            if found is not None and found[0].get("token") == self._ours["token"]:
                self.path.unlink()
            if self._folder is None or self._folder.describe_loss() is None:
                for folder in self._made:
                    folder.rmdir()
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        if renewed:
            self._renewing.release()

    def _make_folder(self) -> None:
        folder = self.path.parent
        if folder.is_symlink():  # which may lead to a folder that is still to be made
            folder = Path(os.path.realpath(folder))
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._made += missing

    def _create(self, path: Path) -> bool:
        return create_file(path, (json.dumps(self._ours) + "\n").encode())

    def _replace(self, owner: dict[str, Any]) -> bool:
        """Replace a stale lock by this process's, unless another process was quicker."""
        digest = hashlib.sha256(json.dumps(owner, sort_keys=True).encode()).hexdigest()
        successor = self.path.with_name(f".{LOCK}.after.{digest[:32]}")
        if not self._create(successor):
            # Another is about to take it over; or was, and was killed before it came to that.
            found = _read_lock(successor)
            if found is not None and (is_gone(found[0]) or self._age(found[1]) > BOUND):
                successor.unlink(missing_ok=True)
            return False
        found = _read_lock(self.path)
        if found is None or found[0] != owner:
            successor.unlink(missing_ok=True)
            return False
        successor.replace(self.path)
        return True

    def _find_stale(self, owner: dict[str, Any], renewed: int) -> str | None:
        """Return why a lock is stale; on another machine after watching it, None until then.

        Raises:
            FolderInUseError: If it is not.
        """
        gone = is_gone(owner)
        if gone:
            return "is gone"
        if gone is False and is_copied(owner, self.path.parent):
            return f"writes to {owner['folder']}; {self.path.parent} is a copy of that"
        if gone is None:
            now, seen = time.monotonic(), (owner.get("token"), renewed)
            if self._watched is None or self._watched[0][0] != seen[0]:
                wait = max(LEAST_WATCHED, BOUND - self._age(renewed))
                self._watched = (seen, now, wait)
                self._report(
                    f"{self.path} is the lock of {describe_owner(owner)}, on another machine; "
                    f"taking it over if it is not renewed within {wait:.0f} s"
                )
            if self._watched[0] == seen:
                return "is gone" if now - self._watched[1] > self._watched[2] else None
        raise FolderInUseError(
            f"{self.path.parent} is being written by {describe_owner(owner)}; wait for its end, "
            "or give another --workdir"
        )

    def _age(self, renewed: int) -> float:
        """Return the seconds since a renewal by the clock of the storage."""
        with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=f".{LOCK}.") as file:
            return max((os.fstat(file.fileno()).st_mtime_ns - renewed) / 1e9, 0.0)

    def _begin(self) -> None:
        self._folder = LockedFolder(self.path.parent)
        now = self.path.stat().st_mtime
        for left in self.path.parent.glob(f".{LOCK}.*"):  # by processes that were killed here
            with suppress(OSError):
                if now - left.stat().st_mtime > BOUND:
                    left.unlink()
        threading.Thread(target=self._keep, name="lock", daemon=True).start()

    def _keep(self) -> None:
        """Renew the lock until it is released; errors here do not end the run."""
        while not self._ended.wait(RENEWAL) and self._lost is None:
            self._renew()

    def _renew(self) -> None:
        with self._renewing:
            if self._ended.is_set():
                return
            try:
                found = read_lock(self.path)
                if found is None:  # somebody has removed it, or its folder
                    self._lost = self._folder and self._folder.describe_loss()
                    if self._lost is not None or self._create(self.path):
                        return
                    found = read_lock(self.path)
                if found is None or found[0].get("token") == self._ours["token"]:
                    os.utime(self.path)
                    return
            except OSError:
                return  # storage that fails for a moment; what is written next says so
        self._lost = (
            f"{self.path.parent} has been taken over by {describe_owner(found[0])}, since this "
            "process did not renew its lock for a while; nothing more is written here"
        )


def _read_lock(path: Path) -> tuple[dict[str, Any], int] | None:
    """Read a lock before a run begins, which can say what is in the way instead of going on."""
    try:
        return read_lock(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read as a lock ({error.strerror}); remove it if no other process "
            "writes to that folder, and run the same command again"
        ) from error


_held: dict[Path, RunLock | None] = {}
"""The locks of this process, by folder; None where host 0 has it, so that all hosts know alike."""


@contextmanager
def owning(folder: Path, *, report: Callable[[str], None] = print) -> Iterator[Callable[[], None]]:
    """Own the folder of a run while something is written there; within one process, repeatedly.

    Of many hosts the first takes the lock, and all of them call this together.

    Args:
        folder: The folder; it is made, and removed again if it stays empty.
        report: Called with a sentence when a stale lock is taken over or watched.

    Yields:
        A function that raises a ``FolderInUseError`` if another process has taken the folder over.

    Raises:
        FolderInUseError: If another process owns it.
        CheckpointError: If the lock cannot be written.
        ValueError: If checkpoints cannot be read back from such a path.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> with owning(folder) as check_owned:
    ...     check_owned()
    ...     [file.name for file in folder.iterdir()]
    ['lock.json']
    >>> folder.exists()
    False
    """
    check_path(folder)
    key = folder.absolute()
    if key in _held:
        yield _checking(_held[key])
        return
    lock, failure, verdict = RunLock(folder, report=report), None, _WAIT
    many = jax.distributed.is_initialized()  # a process that is alone need not start its devices
    first = not many or jax.process_index() == 0
    while verdict == _WAIT:
        if first:
            try:
                verdict = _OWNED if lock.try_acquire() else _WAIT
            except OSError as error:
                failure, verdict = CheckpointError(cannot_write(folder, error)), _REFUSED
            except CheckpointError as error:
                failure, verdict = error, _REFUSED
        if many:
            (verdict,) = broadcast_from_host0([verdict])
        if verdict == _WAIT:
            time.sleep(0.5)
    if verdict == _REFUSED:
        raise failure or FolderInUseError(f"{folder} cannot be written; host 0 says why")
    held = _held[key] = lock if first else None
    try:
        yield _checking(held)
    finally:
        del _held[key]
        if held is not None:
            held.release()


def _checking(held: RunLock | None) -> Callable[[], None]:
    return (lambda: None) if held is None else held.check


_OWNED, _WAIT, _REFUSED = range(3)


def release_all() -> None:
    """Release all locks, before an end that runs nothing else, such as ``os._exit``."""
    for lock in list(_held.values()):
        if lock is not None:
            lock.release()
