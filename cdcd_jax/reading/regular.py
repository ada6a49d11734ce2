"""Regular files, opened without waiting and read within a limit.

A named pipe blocks until another process writes into it, and a device such as ``/dev/zero`` never
ends. So all readers of files of others open them here.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

LIST_BYTES = 2**26
"""Most bytes of a text file that is held whole: the captions of COCO val2014 have 11 million."""

LIST_LINES = 2**21
"""Most lines of such a file; the captions of COCO train2014 are 414,113."""

LINE_BYTES = 2**20
"""Most bytes of a line where lines are read one after another."""

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike) -> BufferedIOBase:
    """Open a file to read its bytes; links are followed.

    Args:
        path: The file.

    Returns:
        The open file.

    Raises:
        OSError: There is no such file, or it is a folder, a pipe, a socket or a device;
            ``strerror`` says which.

    >>> open_regular("/dev/zero")
    Traceback (most recent call last):
    OSError: [Errno 22] it is a device and no regular file: '/dev/zero'
    """
    # Looked at before it is opened, as opening may already do something to a device.
    check_kind(os.stat(path).st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check_kind(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def check_kind(mode: int, path: str | os.PathLike) -> None:
    """Raise an OSError that says what a file is unless it is a regular one, by its mode."""
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind} and no regular file", str(path))


def read_bytes(path: str | os.PathLike, limit: int) -> bytes:
    """Read a file whole.

    Args:
        path: The file.
        limit: Most bytes that it may have.

    Returns:
        Its bytes.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: It is larger than the limit.
    """
    with open_regular(path) as file:
        check_size(path, os.fstat(file.fileno()).st_size, limit)
        data = file.read(limit + 1)
    check_size(path, len(data), limit)  # it may have grown
    return data


def check_size(path: str | os.PathLike, size: int, limit: int) -> None:
    """Raise a ValueError if a file is larger than its reader expects."""
    if size > limit:
        raise ValueError(
            f"{path} has {size:,} bytes, and a file of this kind at most {limit:,}; it is damaged "
            "or another file"
        )


def read_text(path: Path, limit: int = LIST_BYTES) -> str:
    """Read a text file.

    Args:
        path: The file.
        limit: Most bytes that it may have.

    Returns:
        The text, without a byte order mark.

    Raises:
        ValueError: If it is missing, too large or not in UTF-8; the sentence names the line.
    """
    try:
        data = read_bytes(path, limit)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if limit <= LIST_BYTES:
        check_lines(path, data)
    return _decode(data, path, 1, 0).removeprefix("\ufeff")


def check_lines(path: str | os.PathLike, data: bytes) -> None:
    """Raise a ValueError if a list has more lines than any, which would fill the memory."""
    lines = max(data.count(b"\n"), data.count(b"\r"))
    if lines > LIST_LINES:
        raise ValueError(f"{path} has {lines:,} lines, and a list at most {LIST_LINES:,}; split it")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Read a text file line by line, however many there are.

    Args:
        path: The file; lines end as ``split_lines`` says.

    Yields:
        Number of a line, from 1, and the line without its end.

    Raises:
        ValueError: If the file is missing or not in UTF-8, or a line has more than ``LINE_BYTES``.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    number, place = 1, 0
    with file:
        while data := file.readline(LINE_BYTES + 1):
            if len(data) > LINE_BYTES:
                raise ValueError(
                    f"{path}, line {number}: this line has more than {LINE_BYTES:,} bytes; the "
                    "file is damaged or another"
                )
            text = _decode(data, path, number, place).removeprefix("" if place else "\ufeff")
            place += len(data)
            for line in split_lines(text.removesuffix("\n").removesuffix("\r")):
                yield number, line
                number += 1


def split_lines(text: str) -> list[str]:
    r"""Split a text where a line ends: LF, CR LF, or CR alone as files of old Macs have it.

    Not ``str.splitlines``, which also cuts at characters that a caption or JSON string may hold.

    >>> split_lines("a\r\nb\rc\nd\u2028e")
    ['a', 'b', 'c', 'd\u2028e']
    """
    return re.split("\r\n?|\n", text)


def _decode(data: bytes, path: Path, line: int, place: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path}, line {line}: byte {place + error.start} is not UTF-8; save the file in UTF-8"
        ) from error
