"""Sound files: read as mono float32 at one rate, written as 16-bit PCM.

Sound is a float32 array [samples] with values about -1..1 everywhere in the package.
"""

import warnings
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Float32

from cdcd_jax.data.audio_truncation import find_missing
from cdcd_jax.files import whole_file

SAMPLE_RATE = 22_050
"""Samples per second at which the published music codec and its diffusion work."""

FULL_SCALE = 2**15 - 1
"""What 1.0 becomes in a file of 16-bit integers."""

CANCELLED = 0.01
"""Power of the mean of all channels over the mean of their powers, below which they cancel. It is
0.5 for two channels that have nothing in common."""


def load_audio(
    path: str | Path, *, sample_rate: int = SAMPLE_RATE
) -> Float32[np.ndarray, " samples"]:
    """Read a sound file as mono.

    Channels are averaged; where they cancel each other, as L = -R does, the loudest is taken, with
    a warning. Another rate is converted by soxr, whose filter passes 91% of the lower of both
    bands within 0.1 dB and lets no alias above -80 dB through, so that n samples become
    n * sample_rate / rate, rounded.

    Args:
        path: A file of any kind that libsndfile knows: WAV, FLAC, Ogg, MP3 ...
        sample_rate: Samples per second wanted, >= 1.

    Returns:
        The sound; -1..1 in files of integers.

    Raises:
        ValueError: If the file is missing, cut short, damaged or empty, or holds a value that is no
            finite number.
    """
    _check_whole(path)
    try:
        # By name, libsndfile would take macOS's "._song.mp3" beside an MP3 file for a part of it.
        with open(path, "rb") as file:
            channels, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if not len(channels):
        raise ValueError(f"{path} holds no sound; replace the file")
    bad = np.flatnonzero(~np.isfinite(channels).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{path} holds a value that is no finite number at sample {bad[0]}; write the file anew"
        )
    audio = _mix(channels, path)
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate, quality="HQ")
    return audio.astype(np.float32)


def audio_seconds(path: str | Path) -> float:
    """Tell how long a sound file is, from its header.

    Raises:
        ValueError: If the file is missing, cut short or damaged.
    """
    _check_whole(path)
    try:
        with open(path, "rb") as file:
            header = soundfile.info(file)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    return header.frames / header.samplerate


def save_wav(
    path: str | Path, audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> None:
    """Write a WAV file of 16-bit integers, whole or not at all.

    Args:
        path: Where; folders are made.
        audio: Values beyond -1..1 are clipped.
        sample_rate: Samples per second, >= 1.

    Raises:
        ValueError: If there are no samples, or one is no finite number.
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
        raise ValueError(f"{path} is not written: the sound holds a value that is no finite number")
    integers = np.round(np.clip(audio, -1, 1) * FULL_SCALE).astype(np.int16)
    with whole_file(Path(path)) as part:
        soundfile.write(str(part), integers, sample_rate, subtype="PCM_16", format="WAV")


def _mix(
    channels: Float32[np.ndarray, "samples channels"], path: str | Path
) -> Float[np.ndarray, " samples"]:
    """Average the channels, or take the loudest where little but rounding would be left."""
    mean = channels.mean(axis=1, dtype=np.float64)
    powers = np.mean(channels.astype(np.float64) ** 2, axis=0)
    if np.mean(mean**2) >= CANCELLED * powers.mean():
        return mean
    loudest = int(np.argmax(powers))
    warnings.warn(
        f"{path}: its channels cancel each other, so channel {loudest + 1} is taken alone",
        stacklevel=3,
    )
    return channels[:, loudest].astype(np.float64)


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
    """Say why a file could not be read; libsndfile calls a missing file a system error."""
    if not Path(path).is_file():
        return ValueError(f"{path} is not there; a sound file is needed")
    reason = getattr(error, "error_string", None) or str(error)
    return ValueError(f"{path} cannot be read as sound: {reason.strip()}")
