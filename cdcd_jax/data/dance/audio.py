"""Reading sound files as mono float32 at one rate, and writing 16-bit PCM.

Sound is a float32 array [samples] with values about -1..1 everywhere in the package.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Float32

from cdcd_jax.data.dance.audio_truncation import UNKNOWN, find_missing, is_bomb
from cdcd_jax.io import atomic_write
from cdcd_jax.reading.regular import open_regular

SAMPLE_RATE = 22_050
"""Samples per second at which the published music codec and its diffusion work."""

FULL_SCALE = 2**15
"""What 1.0 is in a file of 16-bit integers, which end just below."""

CANCELLED = 0.01
"""Power of the mean of all channels over the mean of their powers, below which they cancel. It is
0.5 for two channels that have nothing in common."""


RATES = (1000, 768_000)
"""Samples per second that a file of sound may have."""

MAX_SECONDS = 6 * 3600
"""Of a file that is read at once."""

LOUDEST = 2.0**31
"""Of a value; sound is -1..1, and in files of floating-point numbers sometimes as large as whole
numbers of 32 bits."""

BLOCK_NUMBERS = 2**20
"""Numbers that are decoded at a time."""


def load_audio(
    path: str | Path, *, sample_rate: int = SAMPLE_RATE
) -> Float32[np.ndarray, " samples"]:
    """Read a sound file as mono.

    Channels are averaged; where they cancel each other, as L = -R does, the loudest is taken, with
    a warning. Another rate is converted by soxr, whose filter passes 91% of the lower of both
    bands within 0.1 dB and lets no alias above -80 dB through, so that n samples become
    n * sample_rate / rate, rounded.

    Args:
        path: A file of any format of libsndfile: WAV, FLAC, Ogg, MP3 ...
        sample_rate: Samples per second wanted, >= 1.

    Returns:
        The sound; -1..1 in files of integers.

    Raises:
        ValueError: If the file is missing, cut short, damaged or empty, or holds a value that is no
            finite number.
    """
    with _open_sound(path) as sound:
        audio = _read_mono(sound, path, sample_rate)
    if not len(audio):
        raise ValueError(f"{path} holds no sound; replace the file")
    return audio


def audio_seconds(path: str | Path) -> float:
    """Return the length of a sound file from its header.

    Raises:
        ValueError: If the file is missing, cut short or damaged.
    """
    with _open_sound(path) as sound:
        frames = sound.frames
        if frames >= UNKNOWN:
            frames = sum(map(len, _blocks(sound, path)))
        return frames / sound.samplerate


def audio_format(path: str | Path) -> tuple[int, int]:
    """Return samples per second and channels of a sound file from its header.

    Raises:
        ValueError: If the file is missing, cut short or damaged.
    """
    with _open_sound(path) as sound:
        return sound.samplerate, sound.channels


def save_wav(
    path: str | Path, audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> None:
    """Write a WAV file of 16-bit integers, atomically; those of such a file are written unchanged.

    Args:
        path: Where; folders are made.
        audio: Values beyond -1..1 are clipped.
        sample_rate: Samples per second, >= 1.

    Raises:
        ValueError: If there are no samples, or one is not finite.
        OSError: The disk refuses.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.wav"
    >>> save_wav(path, np.array([0.5, -7.0]))
    >>> load_audio(path).round(3).tolist()
    [0.5, -1.0]
    """
    if not audio.size:
        raise ValueError(f"there is no sound to write to {path}")
    if not np.isfinite(audio).all():
        raise ValueError(f"{path} is not written: the sound holds a value that is not finite")
    scaled = np.round(np.asarray(audio, np.float64) * FULL_SCALE)
    integers = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    with atomic_write(Path(path)) as part:
        soundfile.write(str(part), integers, sample_rate, subtype="PCM_16", format="WAV")


@contextmanager
def _open_sound(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """Open a file that is whole; what goes wrong with it names the file."""
    _check_whole(path)
    try:
        # By name, libsndfile would take macOS's "._song.mp3" beside an MP3 file for a part of it.
        with open_regular(path) as file:
            opened: Any = file
            with soundfile.SoundFile(opened) as sound:
                _check_header(sound, os.fstat(file.fileno()).st_size, path)
                yield sound
    except (OSError, RuntimeError, MemoryError, TypeError) as error:
        raise _unreadable(path, error) from error


def _check_header(sound: soundfile.SoundFile, num_bytes: int, path: str | Path) -> None:
    """Compare what a header says with what sound is."""
    low, high = RATES
    if not low <= sound.samplerate <= high:
        raise ValueError(
            f"{path} says that it has {sound.samplerate:,} samples per second; sound has {low:,} "
            f"to {high:,}"
        )
    if sound.frames >= UNKNOWN:
        # soundfile looks for the place after each block, and there is none after the last.
        sound.seekable = lambda: False
        return
    if is_bomb(sound.frames * sound.channels, num_bytes):
        raise ValueError(
            f"{path} says that {num_bytes:,} bytes hold {sound.frames:,} samples of "
            f"{sound.channels} channels; it is damaged, or silence alone"
        )
    if sound.frames > MAX_SECONDS * sound.samplerate:
        raise ValueError(
            f"{path} has {sound.frames / sound.samplerate:,.0f} s, and at most {MAX_SECONDS:,} s "
            "are read at once; cut it in pieces"
        )


def _read_mono(
    sound: soundfile.SoundFile, path: str | Path, sample_rate: int
) -> Float32[np.ndarray, " samples"]:
    """Average the channels, or take the loudest where little but rounding would be left."""
    powers, mean_power = np.zeros(sound.channels), 0.0

    def average() -> Iterator[Float[np.ndarray, " samples"]]:
        nonlocal powers, mean_power
        for channels in _blocks(sound, path):
            mean = channels.mean(axis=1, dtype=np.float64)
            powers = powers + np.sum(channels.astype(np.float64) ** 2, axis=0)
            mean_power += float(np.sum(mean**2))
            yield mean

    audio = _resample(average(), sound.samplerate, sample_rate)
    if mean_power >= CANCELLED * powers.mean():
        return audio
    del audio  # no two of them at a time
    loudest = int(np.argmax(powers))
    warnings.warn(
        f"{path}: its channels cancel each other, so channel {loudest + 1} is taken alone",
        stacklevel=3,
    )
    sound.seek(0)
    alone = (block[:, loudest].astype(np.float64) for block in _blocks(sound, path))
    return _resample(alone, sound.samplerate, sample_rate)


def _resample(
    blocks: Iterator[Float[np.ndarray, " samples"]], rate: int, sample_rate: int
) -> Float32[np.ndarray, " samples"]:
    """Convert a sound block by block, as if it were one, so that only the result is held whole."""
    if rate == sample_rate:
        parts = [block.astype(np.float32) for block in blocks]
    else:
        stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float64", quality="HQ")
        parts = [stream.resample_chunk(block).astype(np.float32) for block in blocks]
        parts.append(stream.resample_chunk(np.zeros(0), last=True).astype(np.float32))
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _blocks(
    sound: soundfile.SoundFile, path: str | Path
) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """Read the rest of a file in blocks."""
    start, most = 0, max(1, BLOCK_NUMBERS // sound.channels)
    while len(block := sound.read(most, dtype="float32", always_2d=True)):
        bad = np.flatnonzero(~(np.abs(block) <= LOUDEST).all(axis=1))
        if bad.size:
            value = block[bad[0]][np.argmin(np.abs(block[bad[0]]) <= LOUDEST)]
            what = f"that is {value:.3g}" if np.isfinite(value) else "that is not finite"
            raise ValueError(
                f"{path} holds a value {what} at sample {start + bad[0]}; write the file anew"
            )
        yield block
        start += len(block)
        if start > MAX_SECONDS * sound.samplerate:
            raise ValueError(
                f"{path} has more than {MAX_SECONDS:,} s, which are the most that are read at "
                "once; cut it in pieces"
            )


def _check_whole(path: str | Path) -> None:
    """Raise a ValueError if a file is missing or cut short."""
    try:
        missing = find_missing(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if missing:
        raise ValueError(
            f"{path} is cut short: it lacks {missing}; copy the file again, or leave it out"
        )


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    """Explain why a file cannot be read; libsndfile calls a missing file a system error."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{path} is not there; a sound file is needed")
    reason = error.strerror if isinstance(error, OSError) else getattr(error, "error_string", None)
    reason = reason or str(error) or type(error).__name__
    return ValueError(f"{path} cannot be read as sound: {reason.strip()}")
