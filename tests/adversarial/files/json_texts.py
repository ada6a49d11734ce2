"""JSON and lists that are too deep, too large, or mean two things."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.adversarial import seeds
from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case
from tests.adversarial.files.readers import (
    READERS,
    captions,
    coco,
    negatives,
    plan,
)

KINDS: dict[str, bytes] = {
    "100,000 lists": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "900 lists": b"[" * 900 + b"]" * 900,
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a number of 40 digits": b'{"version": ' + b"9" * 40 + b"}",
    "NaN": b'{"image": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a number beyond 64 bits": b'{"a": 1e999}',
    "one name twice": b'{"image": "a.jpg", "image": "b.jpg"}',
    "half a character": b'{"image": "\\ud800"}',
    "a zero byte in a text": b'{"a": "\x00"}',
    "UTF-16": '{"image": "a.jpg"}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "zeros": bytes(1000),
    "one letter": b"x",
    "a text": b'"abc"',
    "a number": b"5",
    "null": b"null",
    "Latin 1": b'{"image": "\xe9"}',
    "half of it": b'{"image": "a.jp',
    "two values": b"{} {}",
    "a comma too many": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "12 million lists": b"[" + b"[]," * 12_000_000 + b"[]]",
    "4 million objects": b"[" + b'{"a":1},' * 4_000_000 + b"{}]",
    "16 MB of spaces": b" " * 2**24,
    "no line end in 16 MB": b'"' + b"a" * 2**24 + b'"',
}


def _write(place: str, prepare: Callable[[Path], object] | None, data: bytes) -> Callable:
    def write(folder: Path) -> Path:
        if prepare is not None:
            prepare(folder)
        (folder / place).write_bytes(data)
        return folder / place

    return write


FORMATS = {
    "train.jsonl": (seeds.write_captions, captions),
    "annotations/captions_train2017.json": (seeds.write_coco, coco),
    "negatives.json": (None, negatives),
    "manifest.json": (None, plan),
}

PLACES = ("../a.jpg", "/etc/hostname", "x/../../a.jpg", "a\0b.jpg", "", 5, "missing.jpg")


def _named(name: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        inside = folder / "set"
        inside.mkdir()
        (folder / "a.jpg").write_bytes(b"")
        seeds.write_captions(inside, [{"image": name, "caption": "a bird"}])
        return inside / "train.jsonl"

    return write


def _long_line(folder: Path) -> Path:
    path = folder / "train.jsonl"
    path.write_bytes(b'{"image": "')
    os.truncate(path, 2**30)
    return path


def _holes(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(b"n01440764 tench")
        os.truncate(folder / name, 2**30)
        return folder / name

    return write


def _packed(data: bytes) -> Callable[[Path], Path]:
    return _write("merges.txt.gz", None, data)


MERGES = {
    "a bomb of 1 GB": gzip.compress(bytes(2**24), 1) * 64,
    "half of it": gzip.compress(b"a b\n" * 99)[:20],
    "bytes that are not packed": b"\x1f\x8b\x08" + bytes(20),
    "nothing packed": gzip.compress(b""),
    "a wrong checksum": gzip.compress(b"a b\n" * 99)[:-8] + bytes(8),
    "another packing": zlib.compress(b"a b\n" * 99),
    "too few": gzip.compress(b"#\na b\n" * 99),
    "no UTF-8": gzip.compress(b"\xff\n" * 99),
    "9 MB unpacked": b"a b\n" * 2_300_000,
    "one line of 8 MB": b"a" * 8_000_000,
    "two parts": gzip.compress(b"a b\n") * 2,
}


def cases() -> Iterator[Case]:
    """Yield JSON in each file that is JSON, places outside of a folder, lists and byte pairs."""
    for place, (prepare, read) in FORMATS.items():
        for kind, data in KINDS.items():
            name = Path(place).name
            yield file_case(f"{kind} in {name}", _write(place, prepare, data), read, name)
    for name in PLACES:
        yield file_case(f"the image {name!r}", _named(name), captions, "set")
    yield file_case("a line of 1 GB in train.jsonl", _long_line, captions, "line 1: this line has")
    for name in ("solution.csv", "mapping.txt", "truth.txt", "list.txt", "prompts.txt"):
        says = "bytes, and a file of this kind at most"
        yield file_case(f"1 GB without lines in {name}", _holes(name), READERS[name], says)
    for kind, data in MERGES.items():
        yield file_case(f"{kind} of byte pairs", _packed(data), READERS["merges.txt.gz"], "merges")
    right = b'\xef\xbb\xbf{"image": "a.jpg", "caption": "a bird"}\r\n\n'
    write = _write("train.jsonl", seeds.write_captions, right)
    yield file_case("a byte order mark and lines of Windows", write, captions, taken=True)
