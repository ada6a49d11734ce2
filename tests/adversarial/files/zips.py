"""Zip archives that lie, unpack to gigabytes, or have more members than any file of ours."""

import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from cdcd_jax.data.dance.motion import load_motion
from cdcd_jax.evaluation.metrics.images.reference import check_reference
from cdcd_jax.interop import read_state_dict
from tests.adversarial import seeds
from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case

DIRECTORY, END = b"PK\1\2", b"PK\5\6"


def _patch(data: bytes, mark: bytes, place: int, form: str, value: int) -> bytes:
    """Overwrite a number behind the last of some marks."""
    changed, start = bytearray(data), data.rindex(mark) + place
    changed[start : start + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(changed)


def _repack(data: bytes, method: int) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


def _add(data: bytes, name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = BytesIO(data)
    warnings.simplefilter("ignore")  # of names that are there
    with zipfile.ZipFile(out, "a", method, compresslevel=1) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def _twice(data: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        name = archive.namelist()[0]
        content = archive.read(name)
    return _add(data, name, content)


def _many(data: bytes) -> bytes:
    """Add 250,000 empty members, in the directory alone."""
    start = struct.unpack("<I", data[data.rindex(END) + 16 :][:4])[0]
    entries = b"".join(
        struct.pack("<4s6H3I5H2I", DIRECTORY, 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
        + b"%08d" % number
        for number in range(250_000)
    )
    end = struct.pack("<4s4H2IH", END, 0, 0, 65535, 65535, len(entries), start, 0)
    return data[:start] + entries + end


def _overlap(data: bytes) -> bytes:
    """Let 2,000 members of the directory be the same bytes."""
    start = struct.unpack("<I", data[data.rindex(END) + 16 :][:4])[0]
    first = data[start : data.rindex(END)]
    length = struct.unpack("<H", first[28:30])[0]
    one = first[: 46 + length]
    entries = first + b"".join(one[:-8] + b"%04d" % n + one[-4:] for n in range(2000))
    end = struct.pack("<4s4H2IH", END, 0, 0, 2001, 2001, len(entries), start, 0)
    return data[:start] + entries + end


KINDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bomb of 100 MB": (lambda d: _add(d, "zeros.npy", bytes(10**8)), "it would unpack"),
    "a bomb that says 1 byte": (
        lambda d: _patch(_add(d, "z.npy", bytes(10**7)), DIRECTORY, 24, "<I", 1), ""),
    "a size of 4 GB": (lambda d: _patch(d, DIRECTORY, 24, "<I", 2**32 - 2), ""),
    "a packed size of 4 GB": (lambda d: _patch(d, DIRECTORY, 20, "<I", 2**32 - 2), ""),
    "one name twice": (_twice, "two of its members have one name"),
    "250,000 members": (_many, "lists its members"),
    "2,000 members of the same bytes": (_overlap, ""),
    "an encrypted member": (lambda d: _patch(d, DIRECTORY, 8, "<H", 1), "is encrypted"),
    "bzip2": (lambda d: _repack(d, zipfile.ZIP_BZIP2), "compression that is not supported"),
    "lzma": (lambda d: _repack(d, zipfile.ZIP_LZMA), "compression that is not supported"),
    "an unknown compression": (lambda d: _patch(d, DIRECTORY, 10, "<H", 77), "not supported"),
    "a directory beyond the end": (lambda d: _patch(d, END, 16, "<I", 2**31), ""),
    "a directory of 2 GB": (lambda d: _patch(d, END, 12, "<I", 2**31), ""),
    "no directory": (lambda d: d[: d.rindex(END)], ""),
    "half of it": (lambda d: d[: len(d) // 2], ""),
    "a member that begins beyond the end": (lambda d: _patch(d, DIRECTORY, 42, "<I", 2**31), ""),
    "another version": (lambda d: _patch(d, DIRECTORY, 6, "<H", 99), ""),
}  # fmt: skip


BOMB = "a bomb of 100 MB"
UNREAD = ("a bomb that says 1 byte", "a member that begins beyond the end")


def _torch(path: Path) -> None:
    arrays = {"w": np.ones(3, np.float32)}
    seeds.write_torch(path, arrays)


FORMATS: dict[str, tuple[Callable, Callable]] = {
    "weights.npz": (seeds.write_npz, read_state_dict),
    "checkpoint.pth": (_torch, lambda path: dict(read_state_dict(path))),
    "motion.npz": (lambda path: seeds.write_npz(path, motion=np.ones((4, 6))), load_motion),
    "reference.npz": (seeds.write_npz, check_reference),
}


def cases() -> Iterator[Case]:
    """Yield each kind in each format that is a zip."""
    for name, (make, read) in FORMATS.items():
        for kind, (change, says) in KINDS.items():

            def write(folder: Path, name: str = name, make=make, change=change) -> Path:
                make(folder / name)
                data = (folder / name).read_bytes()
                (folder / name).write_bytes(change(data))
                return folder / name

            # PyTorch's other members are never looked at.
            taken = name == "checkpoint.pth" and kind in UNREAD
            if kind == BOMB and name in ("weights.npz", "reference.npz"):
                says = ""  # only what is wanted is unpacked, and the bomb is not an array
            fragments = [] if taken else [name, says]
            yield file_case(f"{kind} in {name}", write, read, *fragments, taken=taken)
