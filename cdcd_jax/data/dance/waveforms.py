"""Transformations of a waveform before it is encoded: amplitude and order of chunks."""

import numpy as np
from jaxtyping import Float

PEAK = 0.95
"""Largest absolute value of normalised sound, as in the published training."""

SILENCE = 4 / 2**15
"""Sound that nowhere is further than this from its middle is taken for silence: four steps of 16
bits, -78 dB. Rounding with the usual dither takes up to two."""


def is_silent(audio: Float[np.ndarray, " samples"]) -> bool:
    """Return whether sound is a constant plus the rounding to 16 bits.

    >>> is_silent(np.array([0.2, 0.2001])), is_silent(np.array([0.0, 0.001]))
    (True, False)
    """
    return not audio.size or float(np.ptp(audio)) <= 2 * SILENCE


def normalise_peak(
    audio: Float[np.ndarray, " samples"], peak: float = PEAK
) -> Float[np.ndarray, " samples"]:
    """Scale sound so that its largest absolute value is a given one.

    Args:
        audio: Sound.
        peak: Wanted, > 0.

    Returns:
        The scaled sound, of the same type.

    Raises:
        ValueError: If the sound is silence: only the noise of its rounding would become loud.

    >>> normalise_peak(np.array([0.1, -0.2])).round(3).tolist()
    [0.475, -0.95]
    """
    if is_silent(audio):
        raise ValueError("it is silent, so it cannot be normalised; leave it out")
    return audio * audio.dtype.type(peak / float(np.abs(audio).max()))


def vary_amplitude(
    audio: Float[np.ndarray, " samples"],
    rng: np.random.Generator,
    low: float = 0.3,
    high: float = 1.0,
) -> Float[np.ndarray, " samples"]:
    """Scale sound by a factor drawn from U(low, high), as the published training does.

    Args:
        audio: Sound.
        rng: Draws the factor.
        low: Least factor.
        high: Largest factor, >= low.

    Returns:
        The scaled sound, of the same type.
    """
    return audio * audio.dtype.type(rng.uniform(low, high))


def shuffle_waveform(
    audio: Float[np.ndarray, " samples"], rng: np.random.Generator, num_chunks: int = 8
) -> Float[np.ndarray, " samples"]:
    """Permute chunks of sound, never to the given order (Zhu et al. 2023, Sec. 3.3).

    Chunks are whole numbers of samples; where the sound cannot be divided evenly, lengths differ by
    one. Every other order is as likely as the next.

    Args:
        audio: Sound of at least ``num_chunks`` samples.
        rng: Draws the order.
        num_chunks: >= 2.

    Returns:
        The same samples in another order.

    Raises:
        ValueError: If there are too few chunks or samples.

    >>> shuffle_waveform(np.arange(4.0), np.random.default_rng(0), num_chunks=2).tolist()
    [2.0, 3.0, 0.0, 1.0]
    """
    if not 2 <= num_chunks <= len(audio):
        raise ValueError(
            f"num_chunks must be in 2..{len(audio)}, the number of samples, got {num_chunks}"
        )
    order = rng.permutation(num_chunks)
    while (order == np.arange(num_chunks)).all():
        order = rng.permutation(num_chunks)
    chunks = np.array_split(audio, num_chunks)
    return np.concatenate([chunks[number] for number in order])
