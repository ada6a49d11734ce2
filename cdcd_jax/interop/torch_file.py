"""Reading PyTorch's zip checkpoints without PyTorch and without executing them.

A checkpoint is a zip of one pickle, which describes tensors, and one member per storage with their
bytes.
"""

import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.interop.stored import Storage
from cdcd_jax.interop.tensor_pickles import TensorUnpickler
from cdcd_jax.reading.archives import DAMAGE, describe, open_archive, read_member
from cdcd_jax.reading.regular import open_regular

HEAD = b"PK\x03\x04"


def read_torch(path: Path) -> Any:
    """Read a zip checkpoint as plain containers of tensors that stay in the file.

    Args:
        path: A file that ``torch.save`` wrote, by PyTorch 1.6 or newer.

    Returns:
        What was saved: usually a dict, with a :class:`StoredTensor` for each tensor and a
        :class:`StandIn` for whatever is neither a tensor nor a plain container.

    Raises:
        ValueError: The file is damaged or malformedat.
    """
    if fault := describe_start(path):
        raise ValueError(f"{path} is not a checkpoint of PyTorch: {fault}.")
    try:
        archive = open_archive(path)  # the storages read from it later
    except ValueError as error:
        raise ValueError(
            f"{path} is not a complete PyTorch zip checkpoint ({describe(error)}); get it anew."
        ) from error
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"{path} is a zip file, but not one that torch.save wrote.")
    return ZipUnpickler(archive, pickles[0].removesuffix("data.pkl"), path).load()


def describe_start(path: Path) -> str:
    """Describe the beginning of a file that is not a zip archive; empty for one that may be.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> _ = path.write_bytes(b"hello")
    >>> describe_start(path)
    "it begins with b'hell'"
    """
    with open_regular(path) as file:
        head = file.read(len(HEAD))
    if not head:
        return "it is empty"
    return "" if head == HEAD else f"it begins with {head!r}"


class ZipUnpickler(TensorUnpickler):
    """An unpickler of a zip's ``data.pkl``; storages are the members in ``data/``."""

    def __init__(self, archive: zipfile.ZipFile, root: str, path: Path):
        self.archive, self.root = archive, root
        self.members = {info.filename: info for info in archive.infolist()}
        try:
            content = io.BufferedReader(archive.open(f"{root}data.pkl"))  # pyright: ignore[reportArgumentType]
            byteorder = f"{root}byteorder"
            big = byteorder in self.members and read_member(archive, byteorder, 64) != b"little"
        except DAMAGE as error:
            raise ValueError(f"{path} has a damaged pickle: {describe(error)}.") from error
        if big:
            raise ValueError(f"{path} was saved on a big-endian machine, which is not supported.")
        super().__init__(content, path)

    def load(self) -> Any:
        """Run the pickle; also compare its checksum, which is done at its end."""
        tree = super().load()
        try:
            self.file.read(1)
        except DAMAGE as error:
            raise ValueError(f"{self.path} has a damaged pickle: {describe(error)}.") from error
        self.file.close()
        return tree

    def find_storage(self, key: str, dtype: np.dtype, size: int) -> Storage:
        """Locate the numbers of a storage."""
        name = f"{self.root}data/{key}"
        num_bytes = self.members[name].file_size if name in self.members else 0
        return Storage(
            self.path, key, dtype, size, num_bytes, partial(_open_at, self.archive, name)
        )


def _open_at(archive: zipfile.ZipFile, name: str, byte: int) -> Any:
    member = archive.open(name)
    member.seek(byte)
    return member
