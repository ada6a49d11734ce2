"""A codec that is not part of the package: black and white patches of 2x2 pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load_file

from cdcd_jax.codecs.codec_file import write_arrays
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.stream import load_images
from cdcd_jax.registry import register
from cdcd_jax.settings.keys import Keys
from cdcd_jax.tasks.codec_family import FIT, CodecFamily, check_made

WEIGHTS = np.array([8, 4, 2, 1])


class BinaryPatches:
    """Code images by which of four pixels are brighter than a threshold."""

    def __init__(self, threshold: float, image_size: int):
        self.threshold = threshold
        self.vocab_size, self.grid = 16, (image_size // 2, image_size // 2)
        self.fingerprint = f"binary patches {threshold} {image_size}"

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Turn images, uint8 [batch height width 3], into tokens [batch length]."""
        rows, columns = self.grid
        bright = (images.mean(-1) >= self.threshold).reshape(-1, rows, 2, columns, 2)
        tokens = bright.swapaxes(2, 3).reshape(len(images), -1, 4) @ WEIGHTS
        return tokens.astype(np.int32)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Turn tokens into images, float32 [batch height width 3], 0 or 1."""
        rows, columns = self.grid
        bright = (np.asarray(tokens)[..., None] & WEIGHTS > 0).reshape(-1, rows, columns, 2, 2)
        images = bright.swapaxes(2, 3).reshape(-1, 2 * rows, 2 * columns, 1)
        return np.repeat(images, 3, axis=-1).astype(np.float32)


class BinaryPatchesFamily(CodecFamily):
    """The entry of the table: its keys, its file, and the fit of its threshold."""

    sections = FIT
    keys: ClassVar = {
        "codec": Keys.of("name", "image_size"),
        "codec_fit": Keys.of("num_pictures"),
    }

    def shape(self, config: Any) -> tuple[int, tuple[int, int]]:
        """Return the number of tokens, and the grid."""
        size = config.codec.image_size
        if size % 2:
            raise ValueError(f"image_size = {size} must be even")
        return 16, (size // 2, size // 2)

    def load(self, config: Any, file: Path) -> BinaryPatches:
        """Load the threshold."""
        check_made(file)
        return BinaryPatches(load_file(file)["threshold"].item(), config.codec.image_size)

    def make(self, config: Any, data: Source) -> Callable[[], BinaryPatches]:
        """Return what finds the mean brightness of some images."""
        size, numbers = config.codec.image_size, range(config.codec_fit.num_pictures)

        def fit() -> BinaryPatches:
            images, _ = load_images(data, list(numbers), image_size=size)
            return BinaryPatches(float(images.mean()), size)

        return fit

    def save(self, codec: BinaryPatches, path: Path) -> None:
        """Write the threshold."""
        write_arrays(path, {"threshold": np.array([codec.threshold])}, {})


register("codec", "binary_patches", BinaryPatchesFamily())
