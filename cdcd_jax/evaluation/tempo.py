"""How fast music is: beats a minute, from the rhythm of its onset strength."""

import numpy as np
import scipy.fft
from jaxtyping import Float, Float64

from cdcd_jax.data.audio import SAMPLE_RATE
from cdcd_jax.evaluation.onsets import HOP, onset_strength

SLOWEST, FASTEST = 40.0, 240.0
"""Beats a minute that are looked for."""

USUAL, SPREAD = 107.0, 0.9
"""Beats a minute that music to dance to has most often, and a deviation from it in octaves."""

NUM_MULTIPLES = 4


def estimate_tempo(
    audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> float:
    """Estimate the tempo.

    argmax over tempi of log-normal(tempo) times the mean autocorrelation of the onset strength at
    one, two, three and four beats, as far as half of the sound can be compared with the other half
    (after Ellis 2007, who looks at one beat).

    Args:
        audio: Mono, values -1..1; best 6 s or more. Two seconds hold four beats at 120 beats a
            minute: enough where each can be heard, too little for many a real recording.
        sample_rate: In Hz.

    Returns:
        Beats a minute, 40..240; of short sounds not below 120 divided by their seconds. NaN where
        nothing begins to sound, or the sound is shorter than half a second.
    """
    return strength_tempo(onset_strength(audio, sample_rate=sample_rate), sample_rate=sample_rate)


def strength_tempo(
    strength: Float[np.ndarray, " frames"], *, sample_rate: int = SAMPLE_RATE
) -> float:
    """Estimate the tempo from the onset strength; see ``estimate_tempo``.

    Args:
        strength: See ``onsets.onset_strength``.
        sample_rate: Of the sound, in Hz.

    Returns:
        Beats a minute, or NaN.
    """
    autocorrelation = onset_autocorrelation(strength)
    frames_a_minute = 60 * sample_rate / HOP
    longest = len(autocorrelation) - 1
    if longest < frames_a_minute / FASTEST or autocorrelation[0] <= 0:
        return np.nan
    slowest = max(SLOWEST, frames_a_minute / longest)
    # Steps of half a per cent.
    tempi = np.geomspace(slowest, FASTEST, int(np.log(FASTEST / slowest) / 0.005) + 2)
    lags = frames_a_minute / tempi[:, None] * np.arange(1, NUM_MULTIPLES + 1)
    values = np.interp(lags, np.arange(longest + 1), autocorrelation)
    heard = lags <= longest
    strength = np.sum(values * heard, axis=1) / heard.sum(axis=1)
    usual = np.exp(-0.5 * (np.log2(tempi / USUAL) / SPREAD) ** 2)
    return float(tempi[np.argmax(np.maximum(strength, 0.0) * usual)])


def onset_autocorrelation(
    strength: Float[np.ndarray, " frames"],
) -> Float64[np.ndarray, " lags"]:
    """Correlate a curve with itself, each lag by the mean over the frames that have a partner.

    Args:
        strength: A curve over time, not constant.

    Returns:
        Covariances at lags of 0 frames to half of them; the first is the variance.

    >>> onset_autocorrelation(np.array([1.0, 0.0, 1.0, 0.0])).round(2).tolist()
    [0.25, -0.25, 0.25]
    """
    count = len(strength)
    centred = strength.astype(np.float64) - strength.mean(dtype=np.float64)
    power = np.abs(np.asarray(scipy.fft.rfft(centred, 2 * count))) ** 2
    lags = np.arange(count // 2 + 1)
    return np.asarray(scipy.fft.irfft(power))[: len(lags)] / (count - lags)


def tempo_difference(first: float, second: float, *, fold_octaves: bool = True) -> float:
    """Say how far two tempi are apart.

    Args:
        first: Beats a minute.
        second: Beats a minute.
        fold_octaves: Whether half and twice the second tempo will do as well: which of them is
            counted is often a matter of taste.

    Returns:
        Beats a minute, >= 0; NaN if one is NaN.

    >>> tempo_difference(120.0, 62.0), tempo_difference(120.0, 62.0, fold_octaves=False)
    (4.0, 58.0)
    """
    octaves = (0.5, 1.0, 2.0) if fold_octaves else (1.0,)
    return min(abs(first - second * octave) for octave in octaves)
