"""The classifier of genres by timbre and rhythm, fitted on real music only."""

import numpy as np
from jaxtyping import Float, Float64, Integer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.onsets import HOP, NUM_MELS, mel_decibels
from cdcd_jax.evaluation.metrics.audio.tempo import onset_autocorrelation
from cdcd_jax.evaluation.metrics.images.classifier import Classifier

NUM_TIMBRES = 32
"""Bands whose loudness is described; each is four of the mel scale."""

NUM_RHYTHMS = 4
"""Bands, from bass to cymbals, whose rhythm is described."""

LONGEST_LAG = 1.0
"""Seconds over which a rhythm is compared with itself: one to two beats."""


def fit_genre_classifier(
    audio: Float[np.ndarray, "examples samples"], genre: Integer[np.ndarray, " examples"]
) -> Classifier:
    """Fit a classifier of genres: linear discriminants of ``describe_music``.

    It needs no published weights and learns 2000 windows of 2 s in some ten seconds, so it serves
    for comparing settings with each other, not with published numbers.

    Args:
        audio: Real training music, values -1..1, 22,050 Hz, windows of one length, which is also
            that of what is classified.
        genre: The genre of each; at least two different ones.

    Returns:
        The classifier: ``predict(audio) -> genre`` and features for a Frechet distance.

    Raises:
        ValueError: If there are fewer than two genres.
    """
    # The covariance is shrunk by Ledoit and Wolf's formula: little music may have many dimensions.
    machine = make_pipeline(
        StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    )
    vectors = describe_music(audio)
    return Classifier(vectors, genre, inputs="audio", machine=machine, describe=describe_music)


def describe_music(
    audio: Float[np.ndarray, "examples samples"],
) -> Float64[np.ndarray, "examples dim"]:
    """Describe music by what its spectra are like and how its onsets repeat.

    Args:
        audio: Values -1..1, 22,050 Hz.

    Returns:
        Of each of 32 bands the mean loudness in dB, its deviation and its mean rise from one frame
        to the next; of each of 4 bands the correlation of the onset strength with itself at lags
        of up to one second, or half the sound.
    """
    return np.stack([_describe(sound) for sound in audio])


def _describe(sound: Float[np.ndarray, " samples"]) -> Float64[np.ndarray, " dim"]:
    decibels = mel_decibels(sound).astype(np.float64)
    timbre = _join_bands(decibels, NUM_TIMBRES)
    rises = np.maximum(np.diff(decibels, axis=1, prepend=decibels[:, :1]), 0.0)
    loudness = [timbre.mean(axis=1), timbre.std(axis=1)]
    rhythm = [_repetition(curve) for curve in _join_bands(rises, NUM_RHYTHMS)]
    return np.concatenate([*loudness, _join_bands(rises, NUM_TIMBRES).mean(axis=1), *rhythm])


def _join_bands(values: np.ndarray, num_bands: int) -> np.ndarray:
    return values.reshape(num_bands, NUM_MELS // num_bands, -1).mean(axis=1)


def _repetition(curve: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, " lags"]:
    """Correlate a curve with itself; 0 where it does not change at all."""
    covariance = onset_autocorrelation(curve)[: int(LONGEST_LAG * SAMPLE_RATE / HOP) + 1]
    return covariance[1:] / max(covariance[0], 1e-6)
