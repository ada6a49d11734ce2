"""Atomic writing of files and folders, by one of several hosts."""

import errno
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jax
from jax.experimental import multihost_utils

_parts: set[Path] = set()
"""What is being written under another name, to be removed before an end that runs nothing else."""

REMOVAL_SECONDS = 10.0
"""How long ``remove_parts`` takes at most, of the seconds that a scheduler leaves after SIGTERM."""


def is_first_host() -> bool:
    """Return whether this host writes what all hosts have in common.

    Nothing that hosts do together may depend on this value: the others would be missed.
    """
    return jax.process_index() == 0


def silence_other_hosts() -> None:
    """Print on one of many hosts what all would print; errors are printed by each."""
    # A process that is alone need not start its devices for the answer.
    if jax.distributed.is_initialized() and not is_first_host():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def check_local(path: str | Path) -> None:
    """Raise a ValueError for the address of a remote storage, which is not a path of a file system.

    Args:
        path: A string, as it was given, or a path, which keeps one slash of several.

    >>> check_local("runs/10:30/a")
    >>> check_local(Path("gs://bucket/run"))
    Traceback (most recent call last):
    ValueError: gs://bucket/run is not a path of a file system; mount that storage (gcsfuse,
    mount-s3) and give the path where it is mounted
    """
    scheme, colon, _ = str(path).partition(":/")
    if colon and len(scheme) > 1 and scheme.isalnum():
        shown = path if isinstance(path, str) else str(path).replace(":/", "://", 1)
        raise ValueError(
            f"{shown} is not a path of a file system; mount that storage (gcsfuse, mount-s3) and "
            "give the path where it is mounted"
        )


def wait_for_hosts(what: str) -> None:
    """Wait until all hosts have come here, so that each may read what the first has written.

    Args:
        what: Said of the moment, the same on all hosts; no other moment may be called so.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


@contextmanager
def _hidden(path: Path, suffix: str = ".part") -> Iterator[Path]:
    """Return a hidden, unused name beside a path; leftovers of that name are removed."""
    # Beside its place: a rename is atomic within one file system only.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{suffix}")
    try:
        _parts.add(part)
        yield part
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        _parts.discard(part)


@contextmanager
def atomic_write(path: Path, *, suffix: str = ".part") -> Iterator[Path]:
    """Yield another name to write to, and move the file into place if writing succeeded.

    A reader sees the old file, none or the whole new one, never half of it. Whatever goes wrong,
    nothing is left behind but by ``kill -9``.

    Args:
        path: Where the file belongs; its folder is made if it is not there.
        suffix: How the other name ends, by which what a kill leaves behind can be found.

    Yields:
        A hidden, unused path in the same folder, for the caller to write to.

    Raises:
        OSError: The disk refuses, or nothing was written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new" / "greeting.txt"
        >>> with atomic_write(path) as part:
        ...     _ = part.write_text("hello")
        ...     print(path.exists())
        False
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('hello', 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _hidden(path, suffix) as part:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave an empty file of that name
        part.replace(path)


def create_file(path: Path, content: bytes) -> bool:
    """Create a file with all of its content, unless there is one of that name.

    Of any number of processes on any number of machines that do this, one succeeds.

    Args:
        path: Where the file belongs, in an existing folder.
        content: What it is to hold.

    Returns:
        Whether this call has created it.

    Raises:
        OSError: The disk refuses.
    """
    if path.exists():
        return False
    with _hidden(path) as part:
        part.write_bytes(content)
        try:
            os.link(part, path)
        except FileExistsError:
            return part.stat().st_nlink == 2  # NFS may say so of a link that it has just made
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_exclusively(path, content)
    return True


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer."""


def _create_exclusively(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a folder of another name to fill, and give it its name when that succeeded.

    Whatever goes wrong, nothing is left behind but by ``kill -9``.

    Args:
        path: Where the folder belongs, which must not be there yet.

    Yields:
        A hidden, unused folder beside it, for the caller to fill.

    Raises:
        OSError: The disk refuses.
    """
    with _hidden(path) as part:
        part.mkdir(parents=True)
        yield part
        part.rename(path)


def remove_parts() -> None:
    """Remove what is not whole yet, before an end that runs nothing else, such as ``os._exit``."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while _parts:
        part = _parts.pop()  # first, so that a second signal need not wait for it
        for _ in range(3):  # as another thread may go on filling a folder
            with suppress(OSError):
                _remove(part, deadline)


def _remove(path: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with os.scandir(path) as entries:
        for entry in entries:
            _remove(Path(entry.path), deadline)
    path.rmdir()
