"""Spectra of loudness in bands, and sound from them by a search for the phases.

Phases are found that frames which overlap agree on (Griffin and Lim 1984, with the acceleration of
Perraudin et al. 2013).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float, Float32

FLOOR = 1e-4
"""Magnitude that silence is given before its logarithm is taken, of 0.5 for a full tone."""

MOMENTUM = 0.99
"""Of the acceleration; Perraudin et al. find the same value best."""


@dataclass(frozen=True, kw_only=True)
class SpectrumOptions:
    """Options of the spectra that sound is described by.

    Attributes:
        hop: Samples of a token, even.
        overlap: How many tokens a frame spans, >= 2.
        num_bands: Bands that a spectrum is described by, >= 8.
        num_codes: Number of codes, >= 2.
        num_iterations: Of the search for phases, >= 1.

    Raises:
        ValueError: If a number is out of range.
    """

    hop: int = 512
    overlap: int = 2
    num_bands: int = 80
    num_codes: int = 512
    num_iterations: int = 32

    def __post_init__(self):
        least = {"hop": 16, "overlap": 2, "num_bands": 8, "num_codes": 2, "num_iterations": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {minimum}")
        if self.hop % 2:
            raise ValueError(f"hop = {self.hop} must be even")
        if self.num_bands > self.hop * self.overlap // 4:
            raise ValueError(
                f"num_bands = {self.num_bands} must be at most a quarter of a frame's "
                f"{self.hop * self.overlap} samples"
            )

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return self.hop * self.overlap

    @cached_property
    def edges(self) -> np.ndarray:
        """Where bands begin, in bins of the spectrum, and the end: even below, geometric above."""
        bins = self.frame // 2 + 1
        even = max(2, round(0.3 * self.num_bands))
        above = np.geomspace(even, bins, self.num_bands - even + 1)
        edges = np.concatenate([np.arange(even), above]).round().astype(int)
        for number in range(1, len(edges)):  # rounding must not close a band
            edges[number] = max(edges[number], edges[number - 1] + 1)
        return edges


def describe_spectra(
    audio: Float[np.ndarray, "batch samples"], options: SpectrumOptions
) -> Float32[np.ndarray, "batch length bands"]:
    """Describe each token's frame: log of the mean magnitude in each band, above a floor.

    >>> options = SpectrumOptions(hop=64, num_bands=8)
    >>> tone = np.sin(2 * np.pi * 3000 / 22050 * np.arange(640))[None]
    >>> loudest = describe_spectra(tone, options)[0, 5].argmax()
    >>> low, high = options.edges[loudest : loudest + 2] * 22050 / options.frame
    >>> bool(low <= 3000 < high)
    True
    """
    magnitudes = np.abs(_analyse(audio.astype(np.float32), options))
    sums = np.add.reduceat(magnitudes, options.edges[:-1], axis=-1)
    return np.log(sums / np.diff(options.edges) + np.float32(FLOOR)).astype(np.float32)


def make_sound(
    spectra: Float32[np.ndarray, "batch length bands"], options: SpectrumOptions
) -> Float32[np.ndarray, "batch samples"]:
    """Find sound whose frames have given spectra.

    Each step projects onto the spectra of real sound and puts the wanted magnitudes back, a little
    beyond the last step (Perraudin et al. 2013, Alg. 2). It starts from fixed random phases, so the
    same spectra give the same sound.

    Args:
        spectra: As ``describe_spectra`` makes them.
        options: How they were made.

    Returns:
        Values -1..1, ``length * hop`` samples each.
    """
    wanted = np.maximum(np.exp(spectra) - np.float32(FLOOR), 0)
    wanted = np.repeat(wanted, np.diff(options.edges), axis=-1)  # [batch length bins]
    turns = np.random.default_rng(0).random(wanted.shape[1:], np.float32)
    ahead = wanted * np.exp(2j * np.pi * turns).astype(np.complex64)[None]
    before = np.zeros_like(ahead)
    for _ in range(options.num_iterations):
        real = _analyse(_synthesise(ahead, options), options)
        real *= wanted / np.maximum(np.abs(real), np.float32(1e-9))
        ahead, before = real + np.float32(MOMENTUM) * (real - before), real
    return np.clip(_synthesise(before, options), -1, 1)


def _analyse(
    audio: Float32[np.ndarray, "batch samples"], options: SpectrumOptions
) -> Complex64[np.ndarray, "batch length bins"]:
    """Transform frames whose middles are those of the tokens; a full tone has magnitude 1/2."""
    beside = (options.frame - options.hop) // 2
    padded = np.pad(audio, ((0, 0), (beside, options.frame - options.hop - beside)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, options.frame, axis=1)
    frames = frames[:, :: options.hop] * _window(options.frame)
    spectra: Any = scipy.fft.rfft(frames, axis=-1, workers=-1)
    return spectra * np.float32(2 / options.frame)


def _synthesise(
    spectra: Complex64[np.ndarray, "batch length bins"], options: SpectrumOptions
) -> Float32[np.ndarray, "batch samples"]:
    """Return the sound whose frames are nearest to some, by least squares."""
    window = _window(options.frame)
    frames: Any = scipy.fft.irfft(spectra, options.frame, axis=-1, workers=-1)
    frames *= window * np.float32(options.frame / 2)
    batch, length = frames.shape[:2]
    parts = frames.reshape(batch, length, options.overlap, options.hop)
    weights = np.square(window).reshape(options.overlap, options.hop)
    total = np.zeros((batch, length + options.overlap - 1, options.hop), np.float32)
    weight = np.zeros((length + options.overlap - 1, options.hop), np.float32)
    for part in range(options.overlap):
        total[:, part : part + length] += parts[:, :, part]
        weight[part : part + length] += weights[part]
    sound = (total / np.maximum(weight, np.float32(1e-3))).reshape(batch, -1)
    beside = (options.frame - options.hop) // 2
    return sound[:, beside : beside + length * options.hop]


def _window(frame: int) -> Float32[np.ndarray, " frame"]:
    """Return Hann's window, which is nowhere zero when taken between the samples."""
    return np.sin(np.pi * (np.arange(frame) + 0.5) / frame).astype(np.float32) ** 2
