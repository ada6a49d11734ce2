"""Checks for truncated sound files: the length in the header against the content.

Decoders return the remaining part of such a file, mostly without a warning.
"""

import mmap
import os
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from struct import unpack
from typing import Any

import soundfile

from cdcd_jax.reading.regular import check_size, open_regular

STREAMED = 0x7FFFF000
"""Sizes from here on are written by programs that did not know the size, into a pipe."""

OGG_PAGE = 27 + 255 + 255 * 255
"""Most bytes of a page of an Ogg file."""

MP3_BYTES, MOST_TAGS, MOST_ZEROS = 2**29, 100, 2**20
"""Of an MP3 file: most bytes in all, which are three hours at the highest rate; most tags at its
beginning, and zeros behind them."""

MOST_CHUNKS = 10_000
"""Chunks of a WAV or AIFF file before its sound; real files have less than 100."""

FREE_NUMBERS, NUMBERS_PER_BYTE = 2**29, 300
"""What a file may unpack to: this many numbers, which are an hour and a half of stereo, or so many
for each byte. Speech at 6,000 bits per second has 64 for each, silence in FLAC 500 to 10,000."""

UNKNOWN = 2**36
"""Samples from here on are what libsndfile says of a FLAC file that does not tell its length."""

MPEG_RATES = (44_100, 48_000, 32_000)
MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def is_bomb(numbers: int, num_bytes: int) -> bool:
    """Return whether so many numbers in so few bytes cannot be sound.

    >>> is_bomb(2 * 44_100 * 3600, 40_000_000), is_bomb(2**36, 10_000)
    (False, True)
    """
    return numbers > max(FREE_NUMBERS, NUMBERS_PER_BYTE * num_bytes)


def find_missing(path: str | Path) -> str | None:
    """Describe what is missing at the end of a sound file.

    WAV, AIFF, FLAC, Ogg and MP3 files are recognised by their first bytes. Of the sound itself
    nothing is decoded but, of FLAC, the last block.

    Args:
        path: A file of any kind.

    Returns:
        What is missing, in a few words; None for a whole file and one of another kind.

    Raises:
        OSError: If the file cannot be read.
    """
    with open_regular(path) as file:
        start = file.read(12)
        size = file.seek(0, os.SEEK_END)
        if start[:4] in (b"RIFF", b"FORM", b"RF64"):
            return _check_chunks(file, start[:4], size)
        if start[:4] == b"OggS":
            return _check_last_page(file, size)
        if start[:4] == b"fLaC":
            file.seek(0)
            return _check_last_block(file)
        if start[:3] == b"ID3" or (start[:1] == b"\xff" and _frame_bytes(start[:4])):
            check_size(path, size, MP3_BYTES)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _check_frames(data)
    return None


def _check_chunks(file: BufferedIOBase, kind: bytes, size: int) -> str | None:
    """Walk over the chunks of WAV and AIFF, each of which says how long it is, up to the sound."""
    place, order, large, frame = 12, ">" if kind == b"FORM" else "<", None, 1
    for _ in range(MOST_CHUNKS):
        if place + 8 > size:
            return None
        file.seek(place)
        head = file.read(8)
        length = unpack(f"{order}I", head[4:])[0]
        if head[:4] == b"ds64":
            large = unpack("<Q", file.read(16).ljust(16, b"\0")[8:])[0]
        if head[:4] == b"data" and kind == b"RF64" and large is not None:
            length = large
        elif length >= STREAMED:
            return None
        if head[:4] == b"fmt ":
            form = file.read(14).ljust(14, b"\0")
            whole = form[:2] in (b"\1\0", b"\3\0", b"\xfe\xff")  # numbers that are not packed
            frame = max(1, unpack("<H", form[12:])[0]) if whole else 1
        missing = place + 8 + length - size
        # Some writers count a byte that fills up the last frame, and leave it out.
        if missing > (length % frame if head[:4] == b"data" else 0):
            return f"{missing:,} bytes of its sound"
        if head[:4] in (b"data", b"SSND"):
            return None
        place += 8 + length + length % 2
    return f"a beginning of its sound among its first {MOST_CHUNKS:,} chunks"


def _check_last_page(file: BufferedIOBase, size: int) -> str | None:
    """Find the last page of an Ogg file, which must be whole and marked as the last."""
    file.seek(max(0, size - 2 * OGG_PAGE))
    end = file.read()
    place = end.rfind(b"OggS\0")
    page = end[place:]
    if place < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return "its last page"
    if len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "a part of its last page"
    return None if page[5] & 4 else "the page that ends the stream"


def _check_last_block(opened: Any) -> str | None:
    """Decode the last sample of a FLAC file, whose header has the number of samples."""
    try:
        with soundfile.SoundFile(opened) as file:
            size = opened.seek(0, os.SEEK_END)
            if file.frames < 1 or is_bomb(file.frames * file.channels, size):
                return None  # refused when it is read
            try:
                file.seek(file.frames - 1)
                found = len(file.read(1))
            except RuntimeError:
                found = 0
            return None if found else f"the last of its {file.frames:,} samples"
    except RuntimeError:
        # No FLAC at all, or a header that cannot be read: reading it will say so.
        return None


def _check_frames(data: bytes | mmap.mmap) -> str | None:
    """Walk over the frames of an MP3 file; the first may tell how many there are."""
    first, count = _skip_tags(data), 0
    for place, length in _walk_frames(data, first):
        count += 1
        if place + length > len(data):
            return "a part of its last frame"
    announced = _announced_frames(data[first : first + 200])
    # Encoders differ in whether they count the frame that holds the number.
    if announced is not None and count < announced:
        return f"{announced - count:,} of its {announced:,} frames"
    return None


def _skip_tags(data: bytes | mmap.mmap) -> int:
    """Find the end of the ID3v2 tags at the beginning, whose sizes have 7 bits a byte."""
    place = 0
    for _ in range(MOST_TAGS):
        if data[place : place + 3] != b"ID3" or len(data) < place + 10:
            break
        high, middle, low, least = data[place + 6 : place + 10]
        length = (high << 21) + (middle << 14) + (low << 7) + least
        place += 10 + length + (10 if data[place + 5] & 16 else 0)
    # Some writers leave zeros between the tag and the first frame.
    rest = data[place : place + MOST_ZEROS]
    return place + len(rest) - len(rest.lstrip(b"\0"))


def _walk_frames(data: bytes | mmap.mmap, place: int) -> Iterator[tuple[int, int]]:
    """Yield place and length of frames that follow each other, the last perhaps cut."""
    while length := _frame_bytes(data[place : place + 4]):
        yield place, length
        place += length


def _frame_bytes(head: bytes) -> int:
    """Compute the length of a frame of MPEG layer III from its header; 0 if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    kbits = (MPEG1_KBITS if version == 3 else MPEG2_KBITS)[(head[2] >> 4) % 15]
    if version == 1 or rate == 3 or not kbits:
        return 0
    samples_per_second = MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = head[2] >> 1 & 1
    return (144 if version == 3 else 72) * kbits * 1000 // samples_per_second + padding


def _announced_frames(first: bytes) -> int | None:
    """Read the number of frames from the first, where encoders with a varying rate leave it."""
    for name, flagged, offset in ((b"Xing", True, 8), (b"Info", True, 8), (b"VBRI", False, 14)):
        place = first.find(name, 4)
        if place < 0 or len(first) < place + offset + 4:
            continue
        if flagged and not first[place + 7] & 1:
            return None
        return unpack(">I", first[place + offset : place + offset + 4])[0]
    return None
