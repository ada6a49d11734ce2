"""How a file is written: whole or not at all, and of many hosts by one."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax


def is_first_host() -> bool:
    """Say whether this host is the one that writes what all hosts know.

    Nothing that hosts do together may stand behind this question: the others would be missed.
    """
    return jax.process_index() == 0


@contextmanager
def whole_file(path: Path, *, suffix: str = ".part") -> Iterator[Path]:
    """Give another name to write to, and put the file in its place when that succeeded.

    A reader sees the old file, none or the whole new one, never half of it. Whatever goes wrong,
    nothing is left behind.

    Args:
        path: Where the file belongs; its folder is made if it is not there.
        suffix: How the other name ends, by which what a kill leaves behind can be found.

    Yields:
        A path in the same folder, hidden and nobody else's, for the caller to write to.

    Raises:
        OSError: The disk refuses, or nothing was written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new" / "greeting.txt"
        >>> with whole_file(path) as part:
        ...     _ = part.write_text("hello")
        ...     print(path.exists())
        False
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('hello', 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place: a rename is atomic within one file system only.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{suffix}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave an empty file of that name
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
