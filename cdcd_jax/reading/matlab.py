"""MATLAB files, checked before a library unpacks them."""

import zlib
from pathlib import Path

from cdcd_jax.reading.regular import read_bytes

MAX_BYTES = 2**23
"""Of a file, packed and unpacked: ImageNet's ``meta.mat`` has a few hundred thousand."""

HEAD_BYTES, COMPRESSED = 128, 15


def check_mat(path: Path) -> None:
    """Refuse a file that is much larger, or unpacks to much more, than a table of classes.

    Raises:
        ValueError: Naming the file.
        OSError: It cannot be read, or is not a regular file.
    """
    data = read_bytes(path, MAX_BYTES)
    place, unpacked = HEAD_BYTES, 0
    order = "big" if data[126:128] == b"MI" else "little"
    while place + 8 <= len(data):
        kind, count = (int.from_bytes(data[p : p + 4], order) for p in (place, place + 4))
        if kind == COMPRESSED:
            left = MAX_BYTES - unpacked
            part = zlib.decompressobj().decompress(data[place + 8 : place + 8 + count], left + 1)
            unpacked += len(part)
            if unpacked > MAX_BYTES:
                raise ValueError(f"{path} unpacks to more than {MAX_BYTES:,} bytes")
        place += 8 + count
