"""Untrusted zip archives, such as npz files and PyTorch checkpoints: no bombs, one meaning only."""

import os
import struct
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path

from cdcd_jax.reading.regular import open_regular

DIRECTORY_BYTES = 2**23
"""Most bytes of an archive's list of its members; one of 10,000 arrays takes 1 million."""

FREE_BYTES, MAX_RATIO = 2**26, 100
"""What all members together may unpack to: this much, or so many times the archive's own size.
Weights and images hardly shrink; zeros shrink to a thousandth, and bombs are made of them."""

WANTED_BYTES, MAX_DEFLATE = 2**30, 1032
"""What arrays that are wanted may unpack to, as their heads say what is in them; and how many times
its size a deflated member can unpack to."""

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    ValueError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RecursionError,  # of a deeply nested head of an array
    RuntimeError,  # encrypted, or, as NotImplementedError, of an unknown compression
)
"""What reading an archive raises where the archive is to blame."""


class _Source:
    """A file of which no more is read at once than a limit, at first that of the directory."""

    def __init__(self, file: BufferedIOBase):
        self._file, self.limit = file, DIRECTORY_BYTES
        self.seek, self.tell, self.seekable, self.close = (
            file.seek, file.tell, file.seekable, file.close,
        )  # fmt: skip
        self.size = os.fstat(file.fileno()).st_size

    def read(self, count: int = -1) -> bytes:
        """Read as zipfile asks."""
        left = max(self.size - self._file.tell(), 0)
        wanted = left if count is None or count < 0 else min(count, left)
        if wanted > self.limit:
            raise zipfile.BadZipFile(f"it lists its members in {wanted:,} bytes")
        return self._file.read(wanted)


class Archive(zipfile.ZipFile):
    """An open zip archive whose members were checked, see ``open_archive``."""

    def __init__(self, file: BufferedIOBase, path: Path):
        self._source = _Source(file)
        super().__init__(self._source)  # pyright: ignore[reportArgumentType]
        self.filename = str(path)
        self._source.limit = 2**31
        self.size = self._source.size
        _check_members(self.infolist(), self.size)

    def close(self) -> None:
        """Close the archive and its file."""
        super().close()
        if hasattr(self, "_source"):
            self._source.close()


def open_archive(path: Path, *, whole: bool = True) -> Archive:
    """Open a zip archive after a look at what it says of its members.

    Args:
        path: The archive.
        whole: Whether any of its members may be read; otherwise what is read is to be checked by
            ``check_unpacked``.

    Returns:
        The open archive. Members are stored or deflated, have names of their own and lie apart.

    Raises:
        ValueError: It is not an archive, is damaged, or would unpack to far more than its size.
        OSError: It cannot be read, or is not a regular file.
    """
    file = open_regular(path)
    try:
        archive = Archive(file, path)
        if whole:
            check_unpacked(archive, archive.infolist())
        return archive
    except DAMAGE as error:
        file.close()
        raise ValueError(f"{path} is not a complete zip archive: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Describe an error in a few words."""
    return f"{error!s:.200}".rstrip(".") or type(error).__name__


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read a member whole.

    Raises:
        ValueError: It is larger than the limit.
    """
    with archive.open(name) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"its member {name:.80} has more than {limit:,} bytes")
    return data


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise ValueError("two of its members have one name")
    for member in members:
        if member.flag_bits & 1:
            raise ValueError(f"its member {member.filename:.80} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"its member {member.filename:.80} has a compression that is not supported"
            )
        stored = member.compress_type == zipfile.ZIP_STORED
        if stored and member.file_size != member.compress_size:
            raise ValueError(f"its member {member.filename:.80} has two sizes")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("it is truncated, or its members overlap")


def check_unpacked(
    archive: Archive, members: list[zipfile.ZipInfo], free: int = FREE_BYTES
) -> None:
    """Refuse members that would unpack to far more than they should.

    Args:
        archive: Their archive.
        members: The members.
        free: Bytes that they may unpack to whatever their size is.

    Raises:
        ValueError: They would unpack to more, and to more than ``MAX_RATIO`` times the archive.
    """
    unpacked = sum(member.file_size for member in members)
    possible = all(m.file_size <= MAX_DEFLATE * (m.compress_size + 1) for m in members)
    if unpacked > FREE_BYTES and (not possible or unpacked > max(free, MAX_RATIO * archive.size)):
        raise ValueError(
            f"it would unpack {archive.size:,} bytes to {unpacked:,}; write it without compression "
            "if that is right"
        )
