"""What is not a regular file, is not there, or is far too large."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case
from tests.adversarial.files.readers import READERS


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    place = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(place)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _broken(path: Path) -> None:
    path.symlink_to("nowhere")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _huge(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 2**40)


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


KINDS: dict[str, tuple[Callable[[Path], None], int]] = {
    "a named pipe": (_pipe, 1), "/dev/zero": (_zeros, 1), "a folder": (Path.mkdir, 3),
    "a socket": (_socket, 3), "a link to itself": (_loop, 3), "a broken link": (_broken, 3),
    "an empty file": (_empty, 1), "a hole of 1 TB": (_huge, 1), "noise": (_noise, 1),
}  # fmt: skip
"""What it is, how it is made, and of how many readers one is given it."""


def cases() -> Iterator[Case]:
    """Yield each kind for each reader, or for some."""
    for number, (name, read) in enumerate(READERS.items()):
        for kind, (make, every) in KINDS.items():
            if number % every or (kind == "an empty file" and name == "list.txt"):
                continue

            def write(folder: Path, name: str = name, make: Callable = make) -> Path:
                make(folder / name)
                return folder / name

            taken = kind == "an empty file" and name in ("mapping.txt", "truth.txt")
            if not taken:
                yield file_case(f"{kind} as {name}", write, read, name)
