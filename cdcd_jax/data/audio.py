"""Sound files: read as mono float32 at one rate, written as 16-bit PCM.

Sound is a float32 array [samples] with values about -1..1 everywhere in the package.
"""

from math import gcd
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from jaxtyping import Float, Float32

from cdcd_jax.files import whole_file

SAMPLE_RATE = 22_050
"""Samples per second at which the published music codec and its diffusion work."""

FULL_SCALE = 2**15 - 1
"""What 1.0 becomes in a file of 16-bit integers."""


def load_audio(
    path: str | Path, *, sample_rate: int = SAMPLE_RATE
) -> Float32[np.ndarray, " samples"]:
    """Read a sound file as mono.

    Channels are averaged; another rate is converted with a polyphase low-pass filter, so that n
    samples become ceil(n * sample_rate / rate).

    Args:
        path: A file of any kind that libsndfile knows: WAV, FLAC, Ogg, MP3 ...
        sample_rate: Samples per second wanted, >= 1.

    Returns:
        The sound; -1..1 in files of integers.

    Raises:
        ValueError: If the file is missing, damaged or empty, or holds a value that is no finite
            number.
    """
    try:
        channels, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if not len(channels):
        raise ValueError(f"{path} holds no sound; replace the file")
    bad = np.flatnonzero(~np.isfinite(channels).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{path} holds a value that is no finite number at sample {bad[0]}; write the file anew"
        )
    audio = channels.mean(axis=1, dtype=np.float64)
    if rate != sample_rate:
        divisor = gcd(rate, sample_rate)
        audio = scipy.signal.resample_poly(audio, sample_rate // divisor, rate // divisor)
    return audio.astype(np.float32)


def audio_seconds(path: str | Path) -> float:
    """Tell how long a sound file is, from its header.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        header = soundfile.info(str(path))
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


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    """Say why a file could not be read; libsndfile calls a missing file a system error."""
    if not Path(path).is_file():
        return ValueError(f"{path} is not there; a sound file is needed")
    reason = getattr(error, "error_string", None) or str(error)
    return ValueError(f"{path} cannot be read as sound: {reason.strip()}")
