"""Encoding and decoding of images by a trained VQGAN."""

import hashlib
import json
from dataclasses import asdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from cdcd_jax.codecs.batching import device_shares, in_batches
from cdcd_jax.codecs.codec import check_codes, check_images
from cdcd_jax.codecs.codec_file import flatten
from cdcd_jax.codecs.quantizer import keep_codes
from cdcd_jax.codecs.vqgan import VQGAN
from cdcd_jax.typing import Params

UNUSED = ("nearest", "first")


class ImageCodec:
    """A codec of square RGB images by a VQGAN, with tokens in row-major order.

    Images go through the network in batches of one size, the last one filled up, so that
    encoding and decoding are compiled once each. Where the batch size divides by the number of
    this process's devices, every device takes its share.

    With a map to used codes, tokens are their numbers, so decoding cannot meet an unused one. When
    encoding meets one, ``unused`` decides: ``"nearest"`` looks for a code among the used ones only;
    ``"first"`` does as the published code: it looks among all, and what is unused becomes token 0.

    Note:
        A feature equally near two codes up to float32's rounding may be assigned either,
        depending on batch size and device. With ``compute_dtype="bfloat16"`` that is a few in a
        hundred.
    """

    def __init__(
        self,
        vqgan: VQGAN,
        params: Params,
        used_codes: Int[np.ndarray, " used"] | None = None,
        unused: str = "nearest",
        batch_size: int = 16,
    ):
        """Make a codec from a network and its weights.

        Args:
            vqgan: The functions.
            params: As ``vqgan.init`` makes them.
            used_codes: Numbers of the codes in use, token by token; None for all.
            unused: ``"nearest"`` or ``"first"``, see above.
            batch_size: Images at once, >= 1.

        Raises:
            ValueError: If the codes in use do not exist or repeat, or another value is wrong.
        """
        if unused not in UNUSED:
            raise ValueError(f'unused = "{unused}" must be one of {", ".join(UNUSED)}')
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size} must be at least 1")
        num_codes = vqgan.options.num_codes
        codes = np.arange(num_codes) if used_codes is None else np.asarray(used_codes)
        if len(codes) < 2 or codes.min() < 0 or codes.max() >= num_codes:
            raise ValueError(
                f"used_codes must be two or more of the codec's codes 0..{num_codes - 1}, but they "
                f"are {len(codes)} from {min(codes, default=0)} to {max(codes, default=0)}"
            )
        if len(np.unique(codes)) < len(codes):
            raise ValueError("used_codes names a code twice, so that two tokens would be the same")
        self.vqgan, self.batch_size = vqgan, batch_size
        self.vocab_size = len(codes)
        self.fingerprint = _fingerprint(vqgan, params, codes, unused)
        used = params | {"quantizer": keep_codes(params["quantizer"], codes)}
        # The token of each code found: the code itself, unless the search goes through all of them.
        table = np.arange(self.vocab_size, dtype=np.int32)
        self._shares, everywhere = device_shares(batch_size)
        # Arrays on the devices are not copied again.
        self._decoder = jax.device_put(used, everywhere)
        self._encoder = self._decoder
        if unused == "first" and used_codes is not None:
            table = np.zeros(num_codes, np.int32)
            table[codes] = np.arange(self.vocab_size)
            self._encoder = jax.device_put(params, everywhere)
        self._table = jax.device_put(table, everywhere)

    @property
    def params(self) -> Params:
        """The weights on the devices, with the codes in use."""
        return self._decoder

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens."""
        return self.vqgan.options.grid

    @property
    def image_size(self) -> int:
        """Height and width of the images."""
        return self.vqgan.options.image_size

    def encode(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Int[np.ndarray, "b l"]:
        """Turn images into tokens.

        Args:
            images: RGB of the codec's size, values 0..255.

        Returns:
            int32, 0..vocab_size-1.

        Raises:
            ValueError: If the images are not of the codec's size.
        """
        check_images(images.shape, self.image_size)
        return in_batches(
            lambda batch: _encode(self.vqgan, self._encoder, self._table, batch),
            images,
            np.zeros((0, self.grid[0] * self.grid[1]), np.int32),
            batch_size=self.batch_size,
            sharding=self._shares,
        )

    def decode(
        self, tokens: Int[Array | np.ndarray, "batch length"]
    ) -> Float[np.ndarray, "batch height width 3"]:
        """Turn tokens back into images.

        Args:
            tokens: Values 0..vocab_size-1.

        Returns:
            float32 RGB, values 0..1.

        Raises:
            ValueError: If there is not one token for each cell of the grid, or one is not a token.
        """
        tokens = np.asarray(tokens)
        check_codes(tokens, self.grid, self.vocab_size)
        size = self.image_size
        return in_batches(
            lambda batch: _decode(self.vqgan, self._decoder, batch),
            tokens,
            np.zeros((0, size, size, 3), np.float32),
            batch_size=self.batch_size,
            sharding=self._shares,
        )


# Compiled once for a network, however many codecs are made with it while it trains.
@partial(jax.jit, static_argnums=0)
def _encode(vqgan: VQGAN, params: Params, table: Array, images: Array) -> Array:
    features = vqgan.encode(params, images.astype(jnp.float32) / 127.5 - 1)
    return table[vqgan.indices(params, features)].reshape(len(images), -1)


@partial(jax.jit, static_argnums=0)
def _decode(vqgan: VQGAN, params: Params, tokens: Array) -> Array:
    codes = vqgan.lookup(params, tokens.reshape(-1, *vqgan.options.grid))
    return (jnp.clip(vqgan.decode(params, codes), -1, 1) + 1) / 2


def _fingerprint(vqgan: VQGAN, params: Params, codes: np.ndarray, unused: str) -> str:
    """Hash all that decides which token an image becomes."""
    digest = hashlib.sha256()
    said = {"options": asdict(vqgan.options), "unused": unused}
    digest.update(json.dumps(said, sort_keys=True).encode())
    arrays = flatten(params) | {"used_codes": codes.astype(np.int32)}
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
