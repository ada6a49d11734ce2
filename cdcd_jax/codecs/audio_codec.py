"""Encoding and decoding of music by one level of a trained Jukebox codec."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cdcd_jax.codecs.batching import device_shares, in_batches
from cdcd_jax.codecs.codec import check_window
from cdcd_jax.codecs.codec_file import flatten
from cdcd_jax.codecs.jukebox import Jukebox
from cdcd_jax.typing import Params


class _Piece(NamedTuple):
    """The tokens that go through the network, and which of them are kept, as which."""

    read: slice
    inside: slice
    keep: slice


class AudioCodec:
    """A codec of windows of mono sound: one level of a Jukebox codec.

    Windows go through the network in batches of one size, the last one filled up, so that encoding
    and decoding are compiled once each. Where the batch size divides by the number of this
    process's devices, every device takes its share.

    Sound of any length goes through ``encode_long`` and ``decode_long`` piece by piece, each with
    as much beside it as it can depend on, so that pieces fit without a seam.

    Note:
        A feature equally near two codes up to float32's rounding may be assigned either,
        depending on batch size and device.
    """

    def __init__(
        self, jukebox: Jukebox, params: Params, *, level: int, length: int, batch_size: int = 16
    ):
        """Make a codec from a network and its weights.

        Args:
            jukebox: The functions.
            params: As ``jukebox.init`` makes them; those of the other levels are not needed.
            level: Which level, 0 for the bottom.
            length: Tokens to a window, >= 1.
            batch_size: Windows at once, >= 1.

        Raises:
            ValueError: If there is no such level, or a value is out of range.
        """
        jukebox.options.check_level(level)
        for name, value in {"length": length, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{name} = {value} must be at least 1")
        name = f"level_{level}"
        if name not in params:
            found = ", ".join(params)
            raise ValueError(f"level = {level} has no weights: there are those of {found}")
        self.jukebox, self.level, self.length, self.batch_size = jukebox, level, length, batch_size
        used = jax.tree.map(np.asarray, {name: params[name]})
        self.fingerprint = _fingerprint(jukebox, used)
        self._shares, everywhere = device_shares(batch_size)
        self._params = jax.device_put(used, everywhere)
        # Pieces of one sound come one after the other, so one device is enough for them.
        self._alone = jax.device_put(used, jax.local_devices()[0])

    @property
    def params(self) -> Params:
        """The weights of the level, on the devices."""
        return self._params

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        return self.jukebox.options.num_codes

    @property
    def grid(self) -> tuple[int, int]:
        """One row of tokens."""
        return 1, self.length

    @property
    def hop(self) -> int:
        """Samples to a token."""
        return self.jukebox.options.hops[self.level]

    @property
    def samples(self) -> int:
        """Samples to a window."""
        return self.length * self.hop

    @property
    def sample_rate(self) -> int:
        """Samples to a second."""
        return self.jukebox.options.sample_rate

    def encode(self, audio: Float[np.ndarray, "batch samples"]) -> Int[np.ndarray, "batch length"]:
        """Turn windows of sound into tokens.

        Args:
            audio: float32, -1..1, of the codec's sample rate.

        Returns:
            int32, 0..vocab_size-1.

        Raises:
            ValueError: If a window has not the codec's number of samples.
        """
        check_window(audio.shape, self.length, self.hop)
        return in_batches(
            lambda batch: _encode(self.jukebox, self.level, self._params, batch),
            audio.astype(np.float32),
            np.zeros((0, self.length), np.int32),
            batch_size=self.batch_size,
            sharding=self._shares,
        )

    def decode(
        self, tokens: Int[Array | np.ndarray, "batch length"]
    ) -> Float[np.ndarray, "batch samples"]:
        """Turn tokens back into windows of sound.

        Args:
            tokens: Values 0..vocab_size-1.

        Returns:
            float32, -1..1.

        Raises:
            ValueError: If a window has not the codec's number of tokens, or one is not a token.
        """
        tokens = np.asarray(tokens)
        if tokens.shape[1] != self.length:
            raise ValueError(f"a window has {self.length} tokens, got {tokens.shape[1]}")
        self._check_tokens(tokens)
        return in_batches(
            lambda batch: _decode(self.jukebox, self.level, self._params, batch),
            tokens.astype(np.int32),
            np.zeros((0, self.samples), np.float32),
            batch_size=self.batch_size,
            sharding=self._shares,
        )

    def encode_long(self, audio: Float[np.ndarray, " samples"]) -> Int[np.ndarray, " tokens"]:
        """Turn sound of any length into tokens, in constant memory beside sound and tokens.

        Args:
            audio: float32, -1..1. What does not fill a token at the end is left out.

        Returns:
            int32 [floor(samples / hop)]: what one encoding of the whole would give.
        """
        num_tokens, hop = len(audio) // self.hop, self.hop
        tokens = np.zeros(num_tokens, np.int32)
        for piece in self._pieces(num_tokens):
            read = audio[piece.read.start * hop : piece.read.stop * hop]
            made = _encode(self.jukebox, self.level, self._alone, read.astype(np.float32)[None])
            tokens[piece.keep] = np.asarray(made)[0, piece.inside]
        return tokens

    def decode_long(self, tokens: Int[Array | np.ndarray, " tokens"]) -> Float[np.ndarray, " s"]:
        """Turn tokens of any number into sound, in constant memory beside tokens and sound.

        Args:
            tokens: Values 0..vocab_size-1.

        Returns:
            float32 [tokens * hop], -1..1: what one decoding of the whole would give.

        Raises:
            ValueError: If one is not a token.
        """
        tokens, hop = np.asarray(tokens).astype(np.int32), self.hop
        self._check_tokens(tokens)
        audio = np.zeros(len(tokens) * hop, np.float32)
        for piece in self._pieces(len(tokens)):
            made = _decode(self.jukebox, self.level, self._alone, tokens[piece.read][None])
            inside = slice(piece.inside.start * hop, piece.inside.stop * hop)
            audio[piece.keep.start * hop : piece.keep.stop * hop] = np.asarray(made)[0, inside]
        return audio

    def _pieces(self, num_tokens: int) -> Iterator[_Piece]:
        """Divide a sequence into pieces of one length, with their surroundings.

        A network pads its sequence with zeros at every layer, so the first piece has to begin
        where the whole does, and the last to end there.
        """
        context = self.jukebox.options.context(self.level)
        size = max(4 * context, self.length)
        if num_tokens <= size:
            size = kept = num_tokens
        else:
            kept = size - 2 * context
        for start in range(0, num_tokens, max(kept, 1)):
            keep = slice(start, min(start + kept, num_tokens))
            first = max(0, min(start - context, num_tokens - size))
            inside = slice(keep.start - first, keep.stop - first)
            yield _Piece(read=slice(first, first + size), inside=inside, keep=keep)

    def _check_tokens(self, tokens: np.ndarray) -> None:
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise ValueError(
                f"tokens must have values 0..{self.vocab_size - 1}, got "
                f"{tokens.min()}..{tokens.max()}"
            )


# Compiled once for a network, however many codecs are made with it while it trains.
@partial(jax.jit, static_argnums=(0, 1))
def _encode(jukebox: Jukebox, level: int, params: Params, audio: Array) -> Array:
    return jukebox.indices(params, jukebox.encode(params, audio, level), level)


@partial(jax.jit, static_argnums=(0, 1))
def _decode(jukebox: Jukebox, level: int, params: Params, tokens: Array) -> Array:
    return jnp.clip(jukebox.decode(params, jukebox.lookup(params, tokens, level), level), -1, 1)


def _fingerprint(jukebox: Jukebox, params: Params) -> str:
    """Hash all that the tokens of a sound depend on."""
    digest = hashlib.sha256()
    digest.update(json.dumps(asdict(jukebox.options), sort_keys=True).encode())
    for name, array in sorted(flatten(params).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
