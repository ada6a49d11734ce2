"""Music to tokens and back by a codebook of spectra, which is found in seconds.

Each token is a frame of sound: the number of the code nearest to its spectrum. Codes hold loudness
in bands and no phases, so sound is made by finding phases that frames which overlap agree on
(Griffin and Lim 1984, with the acceleration of Perraudin et al. 2013). It is meant for small
experiments with drums and bass; for real music there is ``jukebox.py``.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Array, Complex64, Float, Float32, Int
from sklearn.cluster import MiniBatchKMeans

from cdcd_jax.codecs.codec import check_codes
from cdcd_jax.codecs.codec_file import SPECTRA, read_arrays, write_arrays

SAMPLE_RATE = 22_050

FLOOR = 1e-4
"""Magnitude that silence is given before its logarithm is taken, of 0.5 for a full tone."""

MAX_FRAMES = 150_000
"""At most so many frames are looked at when codes are sought."""

MOMENTUM = 0.99
"""Of the acceleration; Perraudin et al. find the same value best."""


@dataclass(frozen=True, kw_only=True)
class SpectrumOptions:
    """Say how sound is cut and described.

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


class SpectrumCodec:
    """Code mono sound frame by frame.

    Args:
        codes: [codes bands] natural logarithms of magnitudes.
        options: How sound is cut and described.
        length: Tokens of a window.
        batch_size: Windows at once, >= 1; of no influence on the result.

    Raises:
        ValueError: If a value is wrong.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        codes: Float32[np.ndarray, "codes bands"],
        options: SpectrumOptions,
        *,
        length: int,
        batch_size: int = 16,
    ):
        if codes.shape != (options.num_codes, options.num_bands):
            raise ValueError(
                f"codes must be {options.num_codes} of {options.num_bands} bands, got {codes.shape}"
            )
        for name, value in {"length": length, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{name} = {value} must be at least 1")
        self.codes, self.options = codes, options
        self.length, self.batch_size = length, batch_size
        self.vocab_size, self.hop, self.grid = len(codes), options.hop, (1, length)
        digest = hashlib.sha256(f"{SPECTRA} {options}".encode())
        digest.update(np.ascontiguousarray(codes).tobytes())
        self.fingerprint = digest.hexdigest()

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return self.length * self.hop

    def encode(self, audio: Float[np.ndarray, "batch samples"]) -> Int[np.ndarray, "batch length"]:
        """Turn windows of sound into tokens.

        Args:
            audio: Values -1..1.

        Returns:
            int32, 0..vocab_size-1.

        Raises:
            ValueError: If a window has not the codec's number of samples.
        """
        if audio.shape[1] != self.samples:
            raise ValueError(
                f"a window must have {self.samples} samples, {self.length} tokens of {self.hop}, "
                f"but it has {audio.shape[1]}"
            )
        tokens = np.empty((len(audio), self.length), np.int32)
        for start in range(0, len(audio), self.batch_size):
            rows = slice(start, start + self.batch_size)
            tokens[rows] = self._nearest(describe_spectra(audio[rows], self.options))
        return tokens

    def decode(
        self, tokens: Int[Array | np.ndarray, "batch length"]
    ) -> Float32[np.ndarray, "batch samples"]:
        """Turn tokens back into windows of sound.

        Args:
            tokens: Values 0..vocab_size-1.

        Returns:
            Values -1..1.

        Raises:
            ValueError: If a window has not the codec's number of tokens, or one is no token.
        """
        tokens = np.asarray(tokens)
        check_codes(tokens, self.grid, self.vocab_size)
        audio = np.empty((len(tokens), self.samples), np.float32)
        for start in range(0, len(tokens), self.batch_size):
            rows = slice(start, start + self.batch_size)
            audio[rows] = make_sound(self.codes[tokens[rows]], self.options)
        return audio

    def encode_long(self, audio: Float[np.ndarray, " samples"]) -> Int[np.ndarray, " tokens"]:
        """Turn sound of any length into tokens; what fills no token is left out."""
        whole = audio[: len(audio) // self.hop * self.hop]
        return self._nearest(describe_spectra(whole[None], self.options))[0]

    def decode_long(self, tokens: Int[np.ndarray, " tokens"]) -> Float32[np.ndarray, " samples"]:
        """Turn any number of tokens into sound, all at once, so that there are no seams."""
        check_codes(tokens[None], (1, len(tokens)), self.vocab_size)
        return make_sound(self.codes[tokens][None], self.options)[0]

    def _nearest(self, spectra: Float32[np.ndarray, "batch length bands"]) -> np.ndarray:
        flat = spectra.reshape(-1, spectra.shape[-1])
        scores = flat @ self.codes.T - 0.5 * (self.codes**2).sum(1)
        return scores.argmax(1).astype(np.int32).reshape(spectra.shape[:2])


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


def fit_spectrum_codec(
    audio: Float[np.ndarray, "windows samples"],
    options: SpectrumOptions,
    *,
    length: int,
    seed: int = 0,
    batch_size: int = 16,
) -> SpectrumCodec:
    """Find codes that are near to the frames of some music, by k-means.

    Args:
        audio: Training music, values -1..1.
        options: How it is cut and described.
        length: For the codec, see ``SpectrumCodec``.
        seed: Seed of the choice of frames and of k-means, >= 0.
        batch_size: For the codec.

    Returns:
        The codec.

    Raises:
        ValueError: If there are fewer frames than codes.
    """
    whole = audio[:, : audio.shape[1] // options.hop * options.hop]
    frames = np.concatenate(
        [describe_spectra(row[None], options)[0] for row in whole]
    )  # one by one: little memory
    if len(frames) < options.num_codes:
        raise ValueError(
            f"num_codes = {options.num_codes} needs as many frames, and there are {len(frames)}; "
            "give more music"
        )
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(frames))[:MAX_FRAMES]
    machine = MiniBatchKMeans(options.num_codes, random_state=seed, batch_size=8192, max_iter=30)
    machine.fit(frames[chosen])
    codes = np.asarray(machine.cluster_centers_, np.float32)
    return SpectrumCodec(codes, options, length=length, batch_size=batch_size)


def save_spectra(path: str | Path, codec: SpectrumCodec) -> None:
    """Write a codec of spectra to a ``.safetensors`` file, whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {"format": SPECTRA, "options": json.dumps(asdict(codec.options))}
    write_arrays(path, {"codes": np.ascontiguousarray(codec.codes)}, metadata)


def load_spectra(path: str | Path, *, length: int, batch_size: int = 16) -> SpectrumCodec:
    """Read what :func:`save_spectra` wrote.

    Args:
        path: The file.
        length: For the codec, see ``SpectrumCodec``.
        batch_size: For the codec.

    Returns:
        The codec.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no codec, or is one of another kind.
    """
    arrays, metadata = read_arrays(path, SPECTRA)
    try:
        options = SpectrumOptions(**json.loads(metadata["options"]))
        codes = arrays["codes"]
        return SpectrumCodec(codes, options, length=length, batch_size=batch_size)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


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
