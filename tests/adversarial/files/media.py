"""Images and sound: bombs, damage and headers that lie, and unusual files that are right."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from cdcd_jax.data.dance.audio import audio_seconds, load_audio
from tests.adversarial import seeds
from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case
from tests.adversarial.files.readers import image


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: int, *more: bytes, depth: int = 8, kind: int = 2) -> bytes:
    """Return a PNG that says its size and has some rows of zeros."""
    head = struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0)
    packer = zlib.compressobj(6)
    row = bytes(1 + width * 3)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    parts = [_chunk(b"IHDR", head), *more, _chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image encoded by Pillow."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _patched(data: bytes, place: int, part: bytes) -> bytes:
    return data[:place] + part + data[place + len(part) :]


SMALL = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
PNG, JPEG, GIF = (saved(SMALL, kind) for kind in ("PNG", "JPEG", "GIF"))
TIFF, BMP = saved(SMALL, "TIFF"), saved(SMALL, "BMP")


def _texts() -> bytes:
    info = PngImagePlugin.PngInfo()
    for number in range(80):
        info.add_text(f"k{number}", "a" * 1_000_000, zip=True)
    return saved(SMALL, "PNG", pnginfo=info)


IMAGES: dict[str, Callable[[], bytes]] = {
    "PNG of 40,000 x 40,000": lambda: png(40_000, 40_000, 1),
    "PNG of 2^31 x 2^31": lambda: png(2**31 - 1, 2**31 - 1, 1),
    "PNG of one colour, 12,000 x 12,000": lambda: png(12_000, 12_000, 12_000),
    "PNG of no width": lambda: png(0, 8, 1),
    "PNG of an unknown kind": lambda: png(8, 8, 8, kind=5),
    "PNG of one row of eight": lambda: png(8, 8, 1)[:-30],
    "PNG with packed texts of 80 MB": _texts,
    "PNG with a text of 100 MB": lambda: png(
        8, 8, 8, _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8), 1))
    ),
    "PNG with a profile of 100 MB": lambda: _patched(
        png(8, 8, 2, _chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8), 1))), 60, b"\xff" * 9
    ),
    "half a PNG": lambda: PNG[: len(PNG) // 2],
    "half a JPEG": lambda: JPEG[: len(JPEG) // 2],
    "half a GIF": lambda: GIF[:20],
    "half a TIFF": lambda: TIFF[: len(TIFF) // 2],
    "GIF of 65,535 x 65,535": lambda: _patched(GIF, 6, b"\xff" * 4),
    "BMP of 2^31 x 2^31": lambda: _patched(BMP, 18, struct.pack("<2i", 2**31 - 1, 2**31 - 1)),
    "BMP of 100,000 x 100,000": lambda: _patched(BMP, 18, struct.pack("<2i", 100_000, -100_000)),
    "JPEG of 65,535 x 65,535": lambda: _patched(JPEG, JPEG.index(b"\xff\xc0") + 5, b"\xff" * 4),
    "TIFF of fractions": lambda: saved(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"),
    "TIFF whose directory is elsewhere": lambda: _patched(TIFF, 4, b"\xff\xff\xff\x7f"),
    "WebP of 16,383 x 16,383": lambda: (
        b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0" + bytes(20)
    ),
    "PPM of 10^9 x 10^9": lambda: b"P6 1000000000 1000000000 255\n" + bytes(100),
    "PPM of 5,000 digits": lambda: b"P6 " + b"9" * 5000 + b" 1 255\n",
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "PDF": lambda: b"%PDF-1.4\n",
    "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "HTML": lambda: b"<html>404</html>",
    "a Windows icon": lambda: saved(SMALL, "ICO"),
}

ALPHA = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
GOOD_IMAGES: dict[str, Callable[[], bytes]] = {
    "PNG of 25 megapixels": lambda: png(5000, 5000, 5000),
    "CMYK": lambda: saved(SMALL.convert("CMYK"), "JPEG"),
    "a palette": lambda: saved(SMALL.convert("P"), "PNG", transparency=0),
    "alpha": lambda: saved(ALPHA, "PNG"),
    "grey and alpha": lambda: saved(ALPHA.convert("LA"), "PNG"),
    "16 bits": lambda: saved(Image.fromarray(np.full((8, 8), 60_000, np.uint16)), "PNG"),
    "black and white": lambda: saved(SMALL.convert("1"), "PNG"),
    "turned": lambda: saved(
        SMALL, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    ),
    "moving GIF": lambda: saved(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(90)] * 9),
    "moving WebP": lambda: saved(SMALL, "WEBP", save_all=True, append_images=[SMALL.rotate(90)]),
    "TIFF packed": lambda: saved(SMALL, "TIFF", compression="tiff_lzw"),
}


def wav(
    *,
    kind: int = 1,
    channels: int = 1,
    rate: int = 8000,
    bits: int = 16,
    data: bytes = bytes(800),
    size: int | None = None,
    before: bytes = b"",
    align: int | None = None,
) -> bytes:
    """Return a WAV file whose header says anything."""
    align = channels * bits // 8 if align is None else align
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * align % 2**32, align % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + before
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _floats(*values: float) -> bytes:
    return wav(kind=3, bits=32, data=struct.pack(f"<{len(values)}f", *values))


def _sound(suffix: str, change: Callable[[bytes], bytes] = bytes, **options: Any) -> Callable:
    def make(folder: Path) -> bytes:
        return change(seeds.write_sound(folder / f"seed{suffix}", **options).read_bytes())

    return make


def _flac_total(data: bytes) -> bytes:
    """Say that there are 2^36 - 1 samples."""
    changed = bytearray(data)
    changed[21] |= 0x0F
    changed[22:26] = b"\xff" * 4
    return bytes(changed)


def _silence(folder: Path) -> bytes:
    """Return FLAC of silence on eight channels that has 22 million numbers."""
    import soundfile

    with soundfile.SoundFile(folder / "seed.flac", "w", 44_100, 8, "PCM_16") as file:
        file.write(np.zeros((44_100 * 62, 8), np.int16))
    return (folder / "seed.flac").read_bytes()


SOUNDS: dict[str, bytes | Callable[[Path], bytes]] = {
    "a rate of 0": wav(rate=0),
    "a rate of 1": wav(rate=1),
    "a rate of 2^31": wav(rate=2**31),
    "a rate of 2^32 - 1": wav(rate=2**32 - 1),
    "a rate of 999": wav(rate=999),
    "0 channels": wav(channels=0),
    "65,535 channels": wav(channels=65_535),
    "0 bits": wav(bits=0),
    "65,535 bits": wav(bits=65_535),
    "an unknown kind": wav(kind=0x7777),
    "more bytes than there are": wav(size=2**30),
    "no samples": wav(data=b""),
    "a value that is NaN": _floats(0.5, float("nan")),
    "infinity": _floats(float("inf")),
    "a value of 1e38": _floats(0.1, 1e38, -1e38),
    "no data": wav()[:36],
    "half of the header": wav()[:20],
    "RIFF alone": b"RIFF",
    "another RIFF": b"RIFF\x04\0\0\0AVI ",
    "100,000 empty chunks": wav(before=b"LIST\0\0\0\0" * 100_000),
    "a chunk of 4 GB": wav(before=b"LIST\xff\xff\xff\xff"),
    "RF64 of 2^62": b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0"
    + struct.pack("<QQQI", 2**62, 2**62, 1, 0)
    + wav()[12:36]
    + b"data\xff\xff\xff\xff"
    + bytes(90),
    "half a FLAC": _sound(".flac", lambda d: d[: len(d) // 2]),
    "FLAC of 2^36 samples": _sound(".flac", _flac_total),
    "half an Ogg": _sound(".ogg", lambda d: d[: len(d) // 2]),
    "half an MP3": _sound(".mp3", lambda d: d[: len(d) // 2]),
    "an MP3 of tags": b"ID3\4\0\0\0\0\0\0" * 100_000,
    "AIFF": b"FORM\0\0\0\4AIFF",
    "half an AIFF": _sound(".aiff", lambda d: d[: len(d) // 2]),
    "zeros": bytes(10_000),
    "text": b"this is not a sound " * 99,
}

GOOD_SOUNDS: dict[str, bytes | Callable[[Path], bytes]] = {
    "8 bits": wav(bits=8),
    "a size that was unknown": wav(size=2**32 - 1),
    "192 kHz": wav(rate=192_000),
    "a rate of 1,000": wav(rate=1000),
    "7 channels": wav(channels=7, data=bytes(1400)),
    "FLAC": _sound(".flac"),
    "FLAC of silence alone": _silence,
    "Ogg": _sound(".ogg"),
    "MP3": _sound(".mp3"),
    "24 bits": _sound(".wav", subtype="PCM_24"),
    "ADPCM": _sound(".wav", subtype="MS_ADPCM"),
}


def _hole(folder: Path) -> Path:
    path = folder / "song.mp3"
    path.write_bytes(b"ID3\4\0\0\0\0\0\0")
    os.truncate(path, 2**30)
    return path


def cases() -> Iterator[Case]:
    """Yield images, then sound."""
    for kinds, taken in ((IMAGES, False), (GOOD_IMAGES, True)):
        for kind, make in kinds.items():

            def paint(folder: Path, make: Callable = make) -> Path:
                (folder / "image.png").write_bytes(make())
                return folder / "image.png"

            says = [] if taken else ["image.png"]
            yield file_case(f"image: {kind}", paint, image, *says, taken=taken)
    for sounds, taken in ((SOUNDS, False), (GOOD_SOUNDS, True)):
        for kind, data in sounds.items():

            def record(folder: Path, data: Any = data) -> Path:
                content = data if isinstance(data, bytes) else data(folder)
                (folder / "sound.wav").write_bytes(content)
                return folder / "sound.wav"

            says = [] if taken else ["sound.wav"]
            yield file_case(f"sound: {kind}", record, load_audio, *says, taken=taken)
    for kind in ("a rate of 0", "more bytes than there are", "no data"):

        def header(folder: Path, data: Any = SOUNDS[kind]) -> Path:
            (folder / "sound.wav").write_bytes(data)
            return folder / "sound.wav"

        yield file_case(f"length: {kind}", header, audio_seconds, "sound.wav")
    yield file_case("sound: an MP3 of 1 GB of zeros", _hole, load_audio, "song.mp3")
