"""The identity of a locked folder, which may be moved or copied."""

import os
from pathlib import Path
from typing import Any


class LockedFolder:
    """A folder held open, because some file systems renumber folders that are not in use.

    Args:
        path: Its path.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def describe_loss(self) -> str | None:
        """Explain that the path no longer leads to the folder; None if it does.

        Raises:
            OSError: If that cannot be found out.
        """
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                return None
            now = "is another folder now"
        except FileNotFoundError:
            now = "is not there any more"
        return (
            f"{self._path} {now}: it was moved or removed during the run, which writes nothing "
            "more; give the --workdir where it is to continue"
        )

    def close(self) -> None:
        """Close the folder."""
        os.close(self._file)


def describe_folder(path: Path) -> dict[str, Any]:
    """Describe a folder for its lock, so that a copy of the lock can be known.

    >>> sorted(describe_folder(Path(".")))
    ['folder', 'inode']
    """
    return {"folder": os.path.realpath(path), "inode": path.stat().st_ino}


def is_copied(owner: dict[str, Any], path: Path) -> bool:
    """Return whether a lock was copied with its folder, while its owner uses the original.

    Args:
        owner: Of the lock; a process of this machine, as others may number and mount otherwise.
        path: The folder in which the lock is.

    Returns:
        Whether the lock is for a folder of another path and inode; a moved one keeps its inode.

    Raises:
        OSError: If the folder cannot be read.

    >>> here = describe_folder(Path("."))
    >>> is_copied(here | {"folder": "/old"}, Path("."))
    False
    >>> is_copied({"folder": "/old", "inode": here["inode"] + 1}, Path("."))
    True
    """
    return all(owner.get(name, here) != here for name, here in describe_folder(path).items())
