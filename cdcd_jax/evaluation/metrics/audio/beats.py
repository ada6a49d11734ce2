"""Beats of generated music against those of the real music and of the dance."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Integer, Real
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.onsets import onset_times

TOLERANCE = 0.07
"""Seconds that two onsets may be apart and still be the same; what beat tracking is scored with."""

ALIGNMENT_SIGMA = 0.05
"""Seconds: 3 frames of 60 a second (Li et al. 2021)."""

SMOOTHING = 5 / 60
"""Seconds: deviation of the Gaussian that the speed of a dance is smoothed with."""

LEAST_DIP = 0.01
"""By how much of the greatest speed a dancer must slow down, so that rounding is not a dance."""


class BeatScores(NamedTuple):
    """The published beat scores of one example.

    Attributes:
        coverage: Beats of the made music per beat of the real music, >= 0; may be above 1.
        hit: Share of the beats of the real music that are beats of the made music, 0..1.
    """

    coverage: float
    hit: float


class OnsetScores(NamedTuple):
    """Matching onsets of one example.

    Attributes:
        precision: Share of the made onsets that are real, 0..1.
        recall: Share of the real onsets that were made, 0..1.
        f_measure: Their harmonic mean.
    """

    precision: float
    recall: float
    f_measure: float


def beats_per_second(
    audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> Int[np.ndarray, " seconds"]:
    """Return for each second whether it has an onset: the published notion of a beat.

    Args:
        audio: Mono, values -1..1.
        sample_rate: In Hz.

    Returns:
        0 or 1 for each second begun.
    """
    num_seconds = -(-audio.size // sample_rate)
    return mark_seconds(onset_times(audio, sample_rate=sample_rate), num_seconds)


def mark_seconds(
    times: Float[np.ndarray, " onsets"], num_seconds: int
) -> Int[np.ndarray, " seconds"]:
    """Return for each second whether it contains one of some times.

    >>> mark_seconds(np.array([0.2, 0.9, 2.0]), 4).tolist()
    [1, 0, 1, 0]
    """
    marks = np.zeros(num_seconds, np.int64)
    # An onset may be found in the frame that begins where the sound ends.
    marks[np.minimum(times.astype(np.int64), num_seconds - 1)] = 1
    return marks


def coverage_and_hit(
    real: Integer[np.ndarray, " real"], made: Integer[np.ndarray, " made"]
) -> BeatScores:
    """Compare the seconds with a beat of real and of made music.

    coverage = sum(made) / sum(real), not clipped at 1, and hit = sum(real and made) / sum(real):
    the published code's scores, which are averaged over the examples.

    Args:
        real: 0 or 1 for each second.
        made: The same of the made music.

    Returns:
        Both scores; NaN where the real music has no beat, where the published code divides by zero.

    Raises:
        ValueError: If they do not have the same number of seconds.

    >>> coverage_and_hit(np.array([0, 1, 1, 0]), np.array([1, 1, 1, 0]))
    BeatScores(coverage=1.5, hit=1.0)
    """
    if len(real) != len(made):
        raise ValueError(f"beats of {len(real)} and of {len(made)} seconds cannot be compared")
    total = int(real.sum())
    if total == 0:
        return BeatScores(np.nan, np.nan)
    return BeatScores(int(made.sum()) / total, int(np.sum(real * made)) / total)


def compare_onsets(
    real: Float[np.ndarray, " real"],
    made: Float[np.ndarray, " made"],
    *,
    tolerance: float = TOLERANCE,
) -> OnsetScores:
    """Compare onsets one to one, which no music reaches by sounding all the time.

    Args:
        real: Increasing times of the real music's onsets, in seconds.
        made: The same of the made music.
        tolerance: How far two may be apart and still be the same, in seconds.

    Returns:
        Precision, recall and F-measure: 0 where nothing was made, NaN where the real music has no
        onset.

    >>> compare_onsets(np.array([0.5, 1.0]), np.array([0.55]))
    OnsetScores(precision=1.0, recall=0.5, f_measure=0.667)
    """
    if len(real) == 0:
        return OnsetScores(np.nan, np.nan, np.nan)
    from mir_eval.util import match_events  # a second of imports that no start should wait for

    matches = len(match_events(real, made, tolerance))
    precision, recall = matches / max(len(made), 1), matches / len(real)
    return OnsetScores(precision, recall, 2 * matches / (len(real) + len(made)))


def kinematic_beats(
    motion: Real[np.ndarray, "frames *joints dim"], *, fps: float, smoothing: float = SMOOTHING
) -> Float64[np.ndarray, " beats"]:
    """Find the moments at which a dancer pauses: local minima of the mean speed.

    Li et al. (2021) take these for the beats of a dance. The speed is smoothed first by a Gaussian
    of 5 frames of 60 a second, as Siyao et al. (2022) do.

    Args:
        motion: Positions of joints [frames joints 3], whose speeds are averaged, or features of a
            movement [frames features], which are taken for one point.
        fps: Frames a second.
        smoothing: Deviation of the Gaussian in seconds, >= 0.

    Returns:
        Increasing times in seconds. A movement that stops for a while pauses once, in the middle.
    """
    points = motion.astype(np.float64)
    if len(points) < 4:
        return np.zeros(0)
    speed = np.linalg.norm(np.diff(points, axis=0), axis=-1).reshape(len(points) - 1, -1)
    smooth = gaussian_filter1d(speed.mean(axis=1), smoothing * fps)
    minima, _ = find_peaks(-smooth, prominence=LEAST_DIP * smooth.max())
    # A difference belongs between its two frames.
    return (minima + 0.5) / fps


def beat_alignment(
    dance_beats: Float[np.ndarray, " dance"],
    music_beats: Float[np.ndarray, " music"],
    *,
    sigma: float = ALIGNMENT_SIGMA,
) -> float:
    """Measure how close each beat of the dance is to some beat of the music.

    (1/m) sum_i exp(-min_j (x_i - y_j)^2 / (2 sigma^2)) over the m beats x of the dance, y those of
    the music: the beat alignment score of Li et al. (2021), AIST++. It goes from the dance to the
    music; others go the other way. Music with many onsets comes close to anything, so a score
    is meaningful only in comparison with music made for another dance.

    Args:
        dance_beats: Times in seconds.
        music_beats: Times in seconds, here of onsets.
        sigma: Seconds at which a beat counts for exp(-1/2).

    Returns:
        0..1; 0 for music without beats, NaN for a dance without beats.

    >>> beat_alignment(np.array([1.0, 2.0]), np.array([1.0, 2.05]))
    0.803
    """
    if len(dance_beats) == 0:
        return np.nan
    if len(music_beats) == 0:
        return 0.0
    nearest = np.abs(dance_beats[:, None] - music_beats[None]).min(axis=1)
    return float(np.exp(-(nearest**2) / (2 * sigma**2)).mean())
