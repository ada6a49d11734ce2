"""Onset strength and onsets, as the published scores compute them.

The published scores are made with librosa 0.7.2, whose numbers are reproduced here with NumPy and
SciPy. Its spectra are padded by reflection; versions from 0.9 on pad with silence, which adds an
onset at the start of some tracks.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32, Float64, Int, Shaped
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from cdcd_jax.data.dance.audio import SAMPLE_RATE

WINDOW, HOP, NUM_MELS = 2048, 512, 128
"""Samples of a spectrum and from one to the next, and bands of the mel scale."""

DYNAMIC_RANGE = 80.0
"""Dynamic range: decibels below the loudest moment that are kept."""

FLOOR = 1e-10

CHUNK = 4096
"""Frames whose spectra, 50 kB each on the way, are computed at once."""


class PeakOptions(NamedTuple):
    """Which peaks of the onset strength, brought to 0..1, are onsets. All but the last in frames.

    The defaults are those of the published scores. Those of librosa are ``pre_average=4,
    post_average=5, threshold=0.07``.

    Attributes:
        pre_maximum: A peak is the highest of so many frames before it,
        post_maximum: and of so many from it on.
        pre_average: It rises above the mean of so many frames before it
        post_average: and of so many from it on.
        wait: At least so many frames are between two onsets.
        threshold: By how much it rises above the mean, 0..1.
    """

    pre_maximum: int = 1
    post_maximum: int = 1
    pre_average: int = 1
    post_average: int = 1
    wait: int = 1
    threshold: float = 0.2


PUBLISHED_PEAKS = PeakOptions()


def onset_strength(
    audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> Float32[np.ndarray, " frames"]:
    """Measure how much louder the bands of the mel scale become.

    s_i = mean over bands of max(L_i - L_{i-1}, 0), L = 10 log10 of the power in a band, not lower
    than 80 dB below the loudest; moved by half a window, as the published scores have it
    (Ellis 2007, as computed by librosa 0.7.2).

    Args:
        audio: Mono, values -1..1.
        sample_rate: In Hz.

    Returns:
        One number for each 512 samples and one more, >= 0, in dB; of silence 0.

    Raises:
        ValueError: If there is no sound or a value is not finite.

    >>> onset_strength(np.zeros(22050, np.float32)).shape
    (44,)
    """
    decibels = mel_decibels(audio, sample_rate=sample_rate)
    rise = np.maximum(np.diff(decibels, axis=1), 0.0).mean(axis=0)
    # A spectrum is centred where its frame is; the onset counts when it enters the window.
    late = np.pad(rise, (1 + WINDOW // (2 * HOP), 0))
    return late[: decibels.shape[1]].astype(np.float32)


def onset_frames(
    audio: Float[np.ndarray, " samples"],
    *,
    sample_rate: int = SAMPLE_RATE,
    options: PeakOptions = PUBLISHED_PEAKS,
) -> Int[np.ndarray, " onsets"]:
    """Find onsets, as numbers of frames of 512 samples.

    Args:
        audio: Mono, values -1..1.
        sample_rate: In Hz.
        options: Which peaks count.

    Returns:
        Increasing numbers; none of silence.
    """
    return pick_peaks(onset_strength(audio, sample_rate=sample_rate), options)


def onset_times(
    audio: Float[np.ndarray, " samples"],
    *,
    sample_rate: int = SAMPLE_RATE,
    options: PeakOptions = PUBLISHED_PEAKS,
) -> Float64[np.ndarray, " onsets"]:
    """Find onsets, in seconds.

    Args:
        audio: Mono, values -1..1.
        sample_rate: In Hz.
        options: Which peaks count.

    Returns:
        Increasing times, whole multiples of 512 samples; none of silence.
    """
    return onset_frames(audio, sample_rate=sample_rate, options=options) * HOP / sample_rate


def pick_peaks(
    strength: Float32[np.ndarray, " frames"], options: PeakOptions = PUBLISHED_PEAKS
) -> Int[np.ndarray, " peaks"]:
    """Choose the peaks of a curve that rise above its surroundings (Boeck et al. 2012).

    Args:
        strength: Of any scale; brought to 0..1 first.
        options: Which peaks count.

    Returns:
        Increasing numbers of frames; none where the curve is constant.

    >>> pick_peaks(np.array([0, 0, 1, 0, 0, 0.1, 0, 0], np.float32)).tolist()
    [2]
    """
    shifted = strength - strength.min(initial=np.inf)
    if not shifted.any():
        return np.zeros(0, np.int64)
    curve = shifted / shifted.max()
    highest = maximum_filter1d(
        curve,
        options.pre_maximum + options.post_maximum,
        mode="constant",
        cval=0.0,
        origin=int(np.ceil((options.pre_maximum - options.post_maximum) / 2)),
    )
    peaks = (curve == highest) & (curve >= _local_mean(curve, options) + options.threshold)
    chosen, last = [], -np.inf
    for frame in np.flatnonzero(peaks & (curve > 0)):
        if frame > last + options.wait:
            chosen.append(frame)
            last = frame
    return np.array(chosen, np.int64)


def mel_decibels(
    audio: Float[np.ndarray, " samples"], *, sample_rate: int = SAMPLE_RATE
) -> Float32[np.ndarray, "bands frames"]:
    """Compute the loudness of 128 bands of the mel scale over time.

    Args:
        audio: Mono, values -1..1.
        sample_rate: In Hz.

    Returns:
        10 log10 of power, for each 512 samples and one more, of the 2048 samples around.

    Raises:
        ValueError: If there is no sound or a value is not finite.
    """
    if audio.size == 0 or not np.isfinite(audio).all():
        raise ValueError("audio must have samples, all of them finite, for its onsets to be found")
    padded = np.pad(audio.astype(np.float32), WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = np.sin(np.pi * np.arange(WINDOW) / WINDOW) ** 2
    # The products are float64, what is kept of them float32: so are the published numbers.
    energy = np.empty((len(frames), WINDOW // 2 + 1), np.float32)
    for start in range(0, len(frames), CHUNK):
        rows = slice(start, start + CHUNK)
        spectra = np.asarray(scipy.fft.rfft(frames[rows] * hann)).astype(np.complex64)
        energy[rows] = np.abs(spectra) ** 2
    power = mel_filters(sample_rate) @ energy.T
    decibels = 10 * np.log10(np.maximum(power, np.float32(FLOOR)))
    return np.maximum(decibels, decibels.max() - np.float32(DYNAMIC_RANGE))


@cache
def mel_filters(sample_rate: int = SAMPLE_RATE) -> Float32[np.ndarray, "bands frequencies"]:
    """Compute triangles of equal area, evenly spaced on the mel scale of Slaney's toolbox.

    The scale is linear below 1 kHz (15 mels) and logarithmic above, 27 mels for a factor of 6.4.

    Args:
        sample_rate: In Hz; the last triangle ends at half of it.

    Returns:
        Weights of the 1025 frequencies of a spectrum; do not write to it.
    """
    linear, knee, step = 200 / 3, 1000.0, np.log(6.4) / 27
    top = knee / linear + np.log(max(sample_rate / 2 / knee, 1.0)) / step
    mels = np.linspace(0.0, top, NUM_MELS + 2)
    above = knee * np.exp(step * (mels - knee / linear))
    corners = np.where(mels < knee / linear, linear * mels, above)
    frequencies = np.linspace(0.0, sample_rate / 2, WINDOW // 2 + 1)
    widths = np.diff(corners)[:, None]
    ramps = corners[:, None] - frequencies[None]
    triangles = np.maximum(0.0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    # Rounded before and after the scaling, as the published numbers are.
    weights = triangles.astype(np.float32)
    weights *= 2.0 / (corners[2:, None] - corners[:-2, None])
    return weights


def _local_mean(
    curve: Shaped[np.ndarray, " frames"], options: PeakOptions
) -> Shaped[np.ndarray, " frames"]:
    """Average around each frame; at the ends, what there is."""
    before, after = options.pre_average, options.post_average
    mean = uniform_filter1d(
        curve, before + after, mode="nearest", origin=int(np.ceil((before - after) / 2))
    )
    ends = {*range(min(before, len(curve))), *range(max(len(curve) - after, 0), len(curve))}
    for frame in ends:
        mean[frame] = curve[max(frame - before, 0) : frame + after].mean()
    return mean
