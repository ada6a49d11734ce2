"""Noise reduction: a spectral gate that attenuates what is quieter than the noise floor."""

import numpy as np
import scipy.signal
from jaxtyping import Float, Float32
from scipy.ndimage import median_filter, uniform_filter

WINDOW, OVERLAP = 1024, 768

QUIET_SHARE = 0.1
"""Share of the moments, the quietest ones, that the noise is measured in."""

FREQUENCY_REACH = 31
"""Frequencies that the median of the noise is over: 650 Hz at 22,050 Hz."""

SAFETY = 2.0
"""How far above its mean the noise is taken to reach."""

LEAST_GAIN = 0.1
"""What is left of noise, in amplitude: 20 dB less of it sounds better than holes do."""


def reduce_noise(
    audio: Float[np.ndarray, "*batch samples"], *, strength: float = 1.0
) -> Float32[np.ndarray, "*batch samples"]:
    """Turn down what is not louder than steady noise, by spectral gating.

    gain = max(1 - strength * 2 noise / power, 0.1) at each frequency and moment, power averaged
    over its neighbours (spectral subtraction, Boll 1979; Berouti et al. 1979). The noise is the
    mean power of a sound's quietest moments, and of that the median over 31 frequencies: steady
    tones are narrow and stay, hiss is broad and goes.

    Args:
        audio: Values -1..1.
        strength: 0 leaves everything as it is; 1 is meant for hiss that can be heard; more takes
            more of the music along.

    Returns:
        Sounds of the same length. Silence stays silence.

    Raises:
        ValueError: If the strength is negative.

    >>> reduce_noise(np.zeros(3, np.float32)).tolist()
    [0.0, 0.0, 0.0]
    """
    if not strength >= 0:
        raise ValueError(f"the strength of noise reduction must be 0 or more, got {strength}")
    sounds = audio.reshape(-1, audio.shape[-1])
    reduced = [_reduce(sound.astype(np.float64), strength) for sound in sounds]
    return np.array(reduced, np.float32).reshape(audio.shape)


def _reduce(sound: np.ndarray, strength: float) -> np.ndarray:
    samples = sound.size
    padded = np.pad(sound, (0, max(0, WINDOW - samples)))
    # Beyond its ends a sound is mirrored: a jump to silence would be a click, taken for noise.
    _, _, spectra = scipy.signal.stft(padded, nperseg=WINDOW, noverlap=OVERLAP, boundary="odd")
    power = np.abs(spectra) ** 2
    loudness = power.sum(axis=0)
    # Digital silence before and after the music says nothing about the noise in it.
    sounding = loudness > 1e-12
    if strength == 0 or not sounding.any():
        return sound
    limit = np.quantile(loudness[sounding], QUIET_SHARE)
    quiet = power[:, sounding & (loudness <= limit)].mean(axis=1)
    noise = median_filter(quiet, FREQUENCY_REACH, mode="nearest")
    # Single peaks of noise would remain as chirps without the mean.
    around = uniform_filter(power, 3, mode="nearest")
    gain = 1 - strength * SAFETY * noise[:, None] / np.maximum(around, 1e-30)
    _, reduced = scipy.signal.istft(
        spectra * np.maximum(gain, LEAST_GAIN), nperseg=WINDOW, noverlap=OVERLAP
    )
    return reduced[:samples]
