"""Descriptors of small colour images that a classifier is fitted on in seconds."""

import numpy as np
from jaxtyping import Float, Shaped

COLOUR_LEVELS = 8
DIRECTIONS = 8
STRENGTHS = (0.02, 0.06, 0.15)
"""Where weak, middling, strong and very strong slopes part, per pixel of a square-rooted value."""

SIDE = 64
"""Larger images are averaged down to about this size first."""


def describe_images(
    images: Shaped[np.ndarray, "batch height width 3"],
) -> Float[np.ndarray, "batch dim"]:
    """Describe images by their colours and by the directions of their edges.

    Two vectors of length 1, put end to end: the square roots of the frequencies of 8 x 8 x 8
    colours in the whole image, and those of 8 directions x 4 strengths of the slope of its
    brightness in each quarter, at full and at half size. (Square roots, so that distances are
    Hellinger's and a frequent colour does not outweigh all others.)

    Args:
        images: uint8, or values 0..1, clipped; at least 8 pixels a side.

    Returns:
        768 numbers for each image.

    Raises:
        ValueError: If the images are not in colour or too small.

    Note:
        On 81 classes of groceries at 64 x 64 pixels, linear discriminants of these get 46% of the
        test images right and 86% among the first five (colours alone: 44% and 82%, edges alone:
        12% and 37%); histograms of oriented gradients in place of the edges are worse, as objects
        lie anywhere.

    >>> describe_images(np.zeros((2, 16, 16, 3), np.uint8)).shape
    (2, 768)
    """
    if images.shape[-1] != 3 or min(images.shape[1:3]) < 8:
        raise ValueError(
            "images must be [batch height width 3] with at least 8 pixels a side, got "
            f"{images.shape}"
        )
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    values = np.clip(images.astype(np.float32) / scale, 0.0, 1.0)
    values = _shrink(values, max(1, min(values.shape[1:3]) // SIDE))
    brightness = np.sqrt(values).mean(axis=-1, keepdims=True)
    edges = [_edges(_shrink(brightness, factor)[..., 0]) for factor in (1, 2)]
    return np.concatenate([_colours(values), np.concatenate(edges, axis=1) / np.sqrt(2)], axis=1)


def _colours(values: np.ndarray) -> np.ndarray:
    levels = np.minimum((values * COLOUR_LEVELS).astype(int), COLOUR_LEVELS - 1)
    codes = (levels[..., 0] * COLOUR_LEVELS + levels[..., 1]) * COLOUR_LEVELS + levels[..., 2]
    return _root_frequencies(codes, COLOUR_LEVELS**3)


def _edges(brightness: np.ndarray) -> np.ndarray:
    down = brightness[:, 2:, 1:-1] - brightness[:, :-2, 1:-1]
    right = brightness[:, 1:-1, 2:] - brightness[:, 1:-1, :-2]
    turn = np.arctan2(down, right) / (2 * np.pi) * DIRECTIONS
    direction = np.floor(turn + 0.5).astype(int) % DIRECTIONS
    strength = np.digitize(np.hypot(down, right), STRENGTHS)
    codes = direction * (len(STRENGTHS) + 1) + strength
    quarters = [
        quarter for half in np.array_split(codes, 2, axis=1)
        for quarter in np.array_split(half, 2, axis=2)
    ]  # fmt: skip
    count = DIRECTIONS * (len(STRENGTHS) + 1)
    return np.concatenate([_root_frequencies(part, count) / 2 for part in quarters], axis=1)


def _root_frequencies(codes: np.ndarray, count: int) -> np.ndarray:
    """Count codes 0..count-1 in each image; the result has length 1."""
    batch, pixels = len(codes), codes[0].size
    shifted = codes.reshape(batch, -1) + count * np.arange(batch)[:, None]
    return np.sqrt(np.bincount(shifted.ravel(), minlength=batch * count) / pixels).reshape(
        batch, count
    )


def _shrink(values: np.ndarray, factor: int) -> np.ndarray:
    """Average squares of ``factor`` pixels a side; what is left over at the edge is cut off."""
    batch, height, width, channels = values.shape
    rows, columns = height // factor, width // factor
    cut = values[:, : rows * factor, : columns * factor]
    return cut.reshape(batch, rows, factor, columns, factor, channels).mean(axis=(2, 4))
