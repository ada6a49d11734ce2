"""Encoding and decoding of music by a codebook of spectra that is fitted in seconds.

Each token is a frame of sound: the number of the code nearest to its spectrum. Codes hold loudness
in bands without phases, which are estimated when tokens are decoded (``phases.py``). It is meant
for small experiments with drums and bass; for real music there is ``jukebox.py``.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Float32, Int
from sklearn.cluster import MiniBatchKMeans

from cdcd_jax.codecs.codec import check_codes, check_window
from cdcd_jax.codecs.codec_file import SPECTRA, read_arrays, read_options, write_arrays
from cdcd_jax.codecs.phases import SpectrumOptions, describe_spectra, make_sound

SAMPLE_RATE = 22_050

MAX_FRAMES = 150_000
"""Most frames that the codes are fitted to."""


class SpectrumCodec:
    """A codec of mono sound, frame by frame.

    Args:
        codes: [codes bands] natural logarithms of magnitudes.
        options: How sound is cut and described.
        length: Tokens of a window.
        batch_size: Windows at once, >= 1; does not affect the result.

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
        check_window(audio.shape, self.length, self.hop)
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
            ValueError: If a window has not the codec's number of tokens, or one is not a token.
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


def fit_spectrum_codec(
    audio: Float[np.ndarray, "windows samples"],
    options: SpectrumOptions,
    *,
    length: int,
    seed: int = 0,
    batch_size: int = 16,
) -> SpectrumCodec:
    """Fit the codes to the frames of some music by k-means.

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
    """Write a codec of spectra to a ``.safetensors`` file, atomically.

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
        ValueError: The file is damaged, is not a codec, or is one of another kind.
    """
    arrays, metadata = read_arrays(path, SPECTRA)
    try:
        options = SpectrumOptions(**read_options(metadata["options"], Path(path)))
        codes = arrays["codes"]
        return SpectrumCodec(codes, options, length=length, batch_size=batch_size)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
