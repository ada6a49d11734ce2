"""A perceptual distance of sounds: spectrograms compared at several resolutions.

Jukebox (Dhariwal et al. 2020, section 3.1) compares magnitudes, because phases are inaudible;
logarithms weigh quiet parts as well (Yamamoto et al. 2020, arXiv 1910.11480, Eq. 4-6).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

RESOLUTIONS = (2048, 512, 128)
"""Lengths of windows in samples: 93, 23 and 6 ms at 22,050 Hz."""

FLOOR = 1e-3
"""Magnitude below which sounds are silent, 60 dB below a full-scale sine."""


def spectrogram(
    audio: Float[Array, "batch samples"], size: int
) -> Float[Array, "batch frames frequencies"]:
    """Return magnitudes of Hann windows, a quarter of a window apart.

    Args:
        audio: At least one window; what does not fill a quarter at the end is left out.
        size: Samples in a window, a multiple of 4.

    Returns:
        4 |DFT| / size, so that a sine has its amplitude; size / 2 + 1 frequencies. Its gradient is
        finite at silence.

    Raises:
        ValueError: If the audio is shorter than a window.

    >>> wave = jnp.sin(2 * jnp.pi * 5 * jnp.arange(128) / 32)
    >>> magnitudes = spectrogram(wave[None], 32)
    >>> magnitudes.shape, int(magnitudes[0, 0].argmax()), round(float(magnitudes[0, 0, 5]), 3)
    ((1, 13, 17), 5, 1.0)
    """
    hop = size // 4
    num_quarters = audio.shape[1] // hop
    if num_quarters < 4:
        raise ValueError(f"audio of {audio.shape[1]} samples has no window of {size}")
    quarters = audio[:, : num_quarters * hop].reshape(len(audio), num_quarters, hop)
    # Pieces of a whole instead of a gather of overlapping frames, whose gradient takes twice as
    # long on CPU.
    frames = jnp.concatenate([quarters[:, i : num_quarters - 3 + i] for i in range(4)], axis=2)
    window = np.hanning(size + 1)[:-1].astype(np.float32) * (4 / size)
    bins = jnp.fft.rfft(frames * window[None, None])
    return jnp.sqrt(bins.real**2 + bins.imag**2 + 1e-14)


def spectral_distance(
    audio: Float[Array, "batch samples"], reconstruction: Float[Array, "batch samples"]
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Compare magnitudes S at several resolutions; the means over these are returned.

    Args:
        audio: What was to be reconstructed.
        reconstruction: What came out.

    Returns:
        sqrt(|S(x) - S(r)|^2 / (|S(x)|^2 + floor^2)), with means over each example's frames and
        frequencies, where the floor matters to silence only; and the mean of
        |log((S(x) + floor) / (S(r) + floor))|, natural logarithms.
    """
    linear, logarithmic = [], []
    for size in RESOLUTIONS:
        wanted, found = spectrogram(audio, size), spectrogram(reconstruction, size)
        energy = jnp.mean(wanted**2, axis=(1, 2)) + FLOOR**2
        linear.append(jnp.sqrt(jnp.mean((wanted - found) ** 2, axis=(1, 2)) / energy))
        ratio = jnp.log(wanted + FLOOR) - jnp.log(found + FLOOR)
        logarithmic.append(jnp.mean(jnp.abs(ratio), axis=(1, 2)))
    number = len(RESOLUTIONS)
    return sum(linear[1:], linear[0]) / number, sum(logarithmic[1:], logarithmic[0]) / number
