"""Tempo in beats per minute, from the periodicity of the onset strength."""

import numpy as np
import scipy.fft
from jaxtyping import Float, Float64

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.onsets import HOP, onset_strength

SLOWEST, FASTEST = 40.0, 240.0
"""Beats a minute that are looked for."""

USUAL, SPREAD = 120.0, 1.0
"""Beats a minute that are most likely before anything is heard, and a deviation in octaves."""

NUM_MULTIPLES = 4
"""Beats over which a tempo is measured once it is chosen."""

OVERSAMPLING = 8
"""Lags of the autocorrelation in a frame; a beat of 155 a minute lasts 16.7 frames."""

LONGEST_LAG = 200
"""Frames, 4.6 s, at which a correlation counts for nothing: one beat counts more than two."""


def estimate_tempo(
    audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> float:
    """Estimate the tempo.

    argmax over tempi of log-normal(tempo) times the autocorrelation of the onset strength at one
    beat (Ellis 2007). Where notes at even distances divide the beat in two, the prior may prefer
    three of them to two; if two and four are more alike than three, the tempo is 3/2 of that.
    What is chosen is then measured over one to four beats.

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
    autocorrelation = onset_autocorrelation(strength, oversampling=OVERSAMPLING)
    frames_a_minute = 60 * sample_rate / HOP
    known = np.arange(len(autocorrelation)) / OVERSAMPLING
    longest = known[-1]
    if longest < frames_a_minute / FASTEST or autocorrelation[0] <= 0:
        return np.nan
    tapered = autocorrelation * np.maximum(1 - known / LONGEST_LAG, 0.0)

    def highest(lag: float) -> float:
        """Find the peak near a lag; beyond the longest lag anything is possible."""
        if lag > longest:
            return np.inf
        return float(np.interp(lag * np.linspace(0.96, 1.04, 17), known, tapered).max())

    slowest = max(SLOWEST, frames_a_minute / longest)
    # Steps of half a per cent.
    tempi = np.geomspace(slowest, FASTEST, int(np.log(FASTEST / slowest) / 0.005) + 2)
    beats = frames_a_minute / tempi
    usual = np.exp(-0.5 * (np.log2(tempi / USUAL) / SPREAD) ** 2)
    beat = beats[np.argmax(np.maximum(np.interp(beats, known, tapered), 0.0) * usual)]
    # Four thirds are at a disadvantage of about 3%, as longer lags count less.
    thirds = min(highest(2 / 3 * beat), highest(4 / 3 * beat) / 0.97)
    if thirds > highest(beat) and 2 / 3 * beat >= frames_a_minute / FASTEST:
        beat *= 2 / 3
    lags = beats[:, None] * np.arange(1, NUM_MULTIPLES + 1)
    possible = lags <= longest
    values = np.interp(lags, known, tapered)
    means = np.sum(values * possible, axis=1) / possible.sum(axis=1)
    near = np.abs(np.log(beats / beat)) < 0.04
    return float(tempi[np.argmax(np.where(near, means, -np.inf))])


def onset_autocorrelation(
    strength: Float[np.ndarray, " frames"], oversampling: int = 1
) -> Float64[np.ndarray, " lags"]:
    """Correlate a curve with itself, each lag by the mean over the frames that have a partner.

    Args:
        strength: A curve over time, not constant.
        oversampling: Lags in a frame; between frames the correlation is band-limited.

    Returns:
        Covariances at lags of 0 frames to half of them; the first is the variance.

    >>> onset_autocorrelation(np.array([1.0, 0.0, 1.0, 0.0])).round(2).tolist()
    [0.25, -0.25, 0.25]
    """
    count = len(strength)
    centred = strength.astype(np.float64) - strength.mean(dtype=np.float64)
    power = np.abs(np.asarray(scipy.fft.rfft(centred, 2 * count))) ** 2
    # More points of the inverse transform are the same function at more places; the highest
    # frequency then counts for itself and its mirror image.
    if oversampling > 1:
        power[-1] /= 2
    products = np.asarray(scipy.fft.irfft(power, 2 * count * oversampling)) * oversampling
    lags = np.arange(count // 2 * oversampling + 1) / oversampling
    return products[: len(lags)] / (count - lags)


def tempo_difference(first: float, second: float, *, fold_octaves: bool = True) -> float:
    """Return the difference of two tempi.

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
