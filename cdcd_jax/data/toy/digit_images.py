"""The handwritten digits as RGB images, to try the configurations of photographs on."""

import io

import numpy as np
from PIL import Image

from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.data.toy.digits import GRID, NUM_CLASSES, VOCAB_SIZE, load_digits


def load_digit_images(split: str, *, size: int = 64) -> ImageBytes:
    """Load one split of the digits as enlarged RGB images.

    Args:
        split: ``"train"`` or ``"test"``, as ``load_digits``.
        size: Height and width, >= 8.

    Returns:
        PNG images, white ink on black, smoothly enlarged.

    Raises:
        ValueError: If there is no such split, or the size is too small.

    >>> digits = load_digit_images("test", size=16)
    >>> len(digits), digits.class_names[3], digits[3].label
    (382, '3', 3)
    """
    if size < GRID[0]:
        raise ValueError(f"size must be at least {GRID[0]}, got {size}")
    examples = load_digits(split)
    grey = (examples.tokens.reshape(-1, *GRID) * 255 // (VOCAB_SIZE - 1)).astype(np.uint8)
    labels = examples.cond.tolist()
    images = [_enlarged_png(image, size) for image in grey]
    return ImageBytes(f"digits, {split}", images, labels, map(str, range(NUM_CLASSES)))


def _enlarged_png(grey: np.ndarray, size: int) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
