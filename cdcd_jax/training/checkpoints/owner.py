"""Identification of the process that owns a folder."""

import errno
import json
import os
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdcd_jax.reading.regular import open_regular


def read_lock(path: Path) -> tuple[dict[str, Any], int] | None:
    """Read a lock.

    Args:
        path: Its file.

    Returns:
        What it says of its owner, ``{}`` if that is damaged, and its time of change, in
        nanoseconds by the clock of the storage. None if there is none.

    Raises:
        OSError: If it cannot be read, or is not a regular file: a pipe would be waited for.
    """
    try:
        # Opening makes network file systems look at the file anew.
        with open_regular(path) as file:
            content, renewed = file.read(10_000), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError as error:
        if path.is_symlink():
            raise OSError(errno.ENOENT, "it is a link to nothing", str(path)) from error
        return None
    try:
        owner = json.loads(content)
    except (ValueError, RecursionError):
        owner = {}
    return owner if isinstance(owner, dict) else {}, renewed


def describe_process() -> dict[str, Any]:
    """Return a description that identifies this process, even in a container."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": _process_start(os.getpid()),
        "machine": _machine(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": uuid.uuid4().hex,
    }


def describe_owner(owner: dict[str, Any]) -> str:
    """Name the owner of a lock in a sentence.

    >>> describe_owner({"host": "node7", "pid": 12, "since": "2026-01-02T03:04:05+00:00"})
    'process 12 on host node7 (since 2026-01-02T03:04:05+00:00)'
    """
    host, pid, since = (owner.get(name, "unknown") for name in ("host", "pid", "since"))
    return f"process {pid} on host {host} (since {since})"


def is_gone(owner: dict[str, Any]) -> bool | None:
    """Return whether the owner of a lock has ended; None if that cannot be determined.

    >>> is_gone(describe_process())
    False
    """
    pid = owner.get("pid")
    if not isinstance(pid, int) or owner.get("machine") != _machine():
        return None
    start = _process_start(pid)
    return start is None or start != owner.get("process_start")


def _machine() -> str:
    """Name the space in which a number of a process means one process.

    It is this start of this machine, and there this container's own space of processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _process_start(pid: int) -> str | None:
    """Return when a process was started, None if there is none; dead ones do not count."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
