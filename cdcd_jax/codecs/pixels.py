"""The smallest codec: one token per pixel, its grey level."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class PixelCodec:
    """A codec of grey images with one token per pixel, in row-major order.

    Attributes:
        vocab_size: K >= 2 grey levels, from 0 (value 0.0) to K-1 (value 1.0).
        grid: Height and width of the images in pixels.

    Raises:
        ValueError: If there are fewer than two levels or the grid is empty.

    >>> codec = PixelCodec(vocab_size=17, grid=(1, 3))
    >>> codec.encode(np.array([[[0.0, 0.5, 1.0]]], np.float32)).tolist()
    [[0, 8, 16]]
    >>> codec.decode(np.array([[0, 8, 16]], np.int32)).tolist()
    [[[0.0, 0.5, 1.0]]]
    """

    vocab_size: int
    grid: tuple[int, int]

    def __post_init__(self):
        if self.vocab_size < 2:
            raise ValueError(f"vocab_size must be at least 2 grey levels, got {self.vocab_size}")
        if min(self.grid) < 1:
            raise ValueError(f"grid must be a height and a width of at least 1, got {self.grid}")

    def encode(
        self, images: Float[Array | np.ndarray, "batch height width"]
    ) -> Int[Array, "batch length"]:
        """Round each pixel to the nearest grey level.

        Args:
            images: Values 0..1; what is outside is clipped.

        Returns:
            int32 tokens.

        Raises:
            ValueError: If the images are not of the codec's size.
        """
        if images.shape[1:] != self.grid:
            raise ValueError(f"images must have {self.grid} pixels, got {images.shape[1:]}")
        top = self.vocab_size - 1
        levels = jnp.clip(jnp.round(jnp.asarray(images) * top), 0, top).astype(jnp.int32)
        return levels.reshape(len(images), -1)

    def decode(
        self, tokens: Int[Array | np.ndarray, "batch length"]
    ) -> Float[Array, "batch height width"]:
        """Turn grey levels back into values 0..1.

        Args:
            tokens: Values 0..K-1.

        Returns:
            float32 images, values 0..1.

        Raises:
            ValueError: If there is not one token for each pixel.
        """
        height, width = self.grid
        if tokens.shape[1] != height * width:
            raise ValueError(
                f"an image of {height} x {width} pixels has {height * width} tokens, "
                f"got {tokens.shape[1]}"
            )
        images = jnp.asarray(tokens).reshape(len(tokens), height, width)
        return images.astype(jnp.float32) / (self.vocab_size - 1)
