"""PNG images of samples: a row for each class, and a strip of the reverse process.

Samples of texts: ``prompts.py``; the process as a film: ``animation.py``.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Real
from PIL import Image

from cdcd_jax.io import atomic_write
from cdcd_jax.visualization.grid import CELL_SIZE, draw_grid, label_names, mask_pixels, to_rgb

DecodeFn = Callable[[np.ndarray], Any]
"""Tokens [batch length] -> images [batch height width] in grey or [batch height width 3] in RGB,
values 0..1: a codec's ``decode``."""


def draw_samples(
    tokens: Int[np.ndarray, "examples length"],
    labels: Int[np.ndarray, " examples"],
    *,
    decode_fn: DecodeFn,
    num_columns: int = 10,
    caption: str = "",
    cell_size: int = CELL_SIZE,
    class_names: Sequence[str] = (),
) -> Image.Image:
    """Draw samples with a row for each class.

    Args:
        tokens: Values 0..K-1.
        labels: The requested classes.
        decode_fn: The codec's way back.
        num_columns: At most so many of each class, the first ones; a class with fewer leaves gaps.
        caption: One line above the grid.
        cell_size: About how many pixels the longer side of an image gets.
        class_names: Name of each class, shortened to fit; their numbers if there are none.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if len(tokens) == 0 or num_columns < 1:
        raise ValueError(f"{len(tokens)} samples in {num_columns} columns leave nothing to draw")
    images = np.asarray(decode_fn(tokens))
    classes, counts = np.unique(labels, return_counts=True)
    columns = min(num_columns, int(counts.max()))
    grid = np.full((len(classes), columns, *images.shape[1:]), np.nan)
    for row, label in enumerate(classes):
        chosen = images[labels == label][:columns]
        grid[row, : len(chosen)] = chosen
    return draw_grid(
        grid, row_labels=label_names(classes, class_names), caption=caption, cell_size=cell_size
    )


def draw_reconstructions(
    originals: Real[np.ndarray, "examples height width *rgb"],
    reconstructions: Real[np.ndarray, "examples height width *rgb"],
    *,
    num_columns: int = 8,
    caption: str = "",
    cell_size: int = CELL_SIZE,
) -> Image.Image:
    """Draw images with their reconstructions below, as pairs of rows.

    Args:
        originals: Values 0..1.
        reconstructions: Values 0..1, of the same shape.
        num_columns: At most so many images in a row; the last rows may have gaps.
        caption: One line above them.
        cell_size: About how many pixels the longer side of an image gets.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is nothing to draw.
    """
    count = len(originals)
    if count == 0 or num_columns < 1:
        raise ValueError(f"{count} images in {num_columns} columns leave nothing to draw")
    columns = min(num_columns, count)
    shape = originals.shape[1:]
    grid = np.full((-(-count // columns), 2, columns, *shape), np.nan, np.float32)
    for index, pair in enumerate(zip(originals, reconstructions, strict=True)):
        grid[index // columns, :, index % columns] = pair
    return draw_grid(
        grid.reshape(-1, columns, *shape),
        row_labels=["original", "decoded"] * len(grid),
        caption=caption,
        cell_size=cell_size,
    )


def draw_trajectory(
    trajectory: Int[np.ndarray, "frames batch length"],
    labels: Int[np.ndarray, " batch"],
    *,
    decode_fn: DecodeFn,
    grid: tuple[int, int],
    mask_id: int,
    num_frames: int = 12,
    caption: str = "",
    cell_size: int = CELL_SIZE,
    class_names: Sequence[str] = (),
) -> Image.Image:
    """Draw how samples come out of the masks: a row for each sample, time from left to right.

    Args:
        trajectory: Noised tokens 0..K of every frame, all masks first, the sample last.
        labels: The requested classes.
        decode_fn: The codec's way back.
        grid: Rows and columns of the tokens.
        mask_id: K; these tokens are painted blue.
        num_frames: At most so many frames, evenly spaced, the first and the last among them.
        caption: One line above it.
        cell_size: About how many pixels the longer side of an image gets.
        class_names: Name of each class, shortened to fit; their numbers if there are none.

    Returns:
        An RGB image; the columns are labelled with the number of steps done.

    Raises:
        ValueError: If fewer than two frames are requested or given.
    """
    total, batch, length = trajectory.shape
    if min(num_frames, total) < 2:
        raise ValueError(f"a trajectory needs at least 2 frames, got {min(num_frames, total)}")
    chosen = np.unique(np.linspace(0, total - 1, num_frames).round().astype(int))
    tokens = trajectory[chosen].swapaxes(0, 1)
    masked = tokens == mask_id
    # Codecs have no mask token; any token will do, because it is painted over.
    images = np.asarray(decode_fn(np.where(masked, 0, tokens).reshape(-1, length)))
    return draw_grid(
        images.reshape(batch, len(chosen), *images.shape[1:]),
        row_labels=label_names(labels, class_names),
        column_labels=[str(step) for step in chosen],
        caption=caption,
        masked=mask_pixels(masked, grid, images.shape[1:3]),
        cell_size=cell_size,
    )


def to_image(image: Real[np.ndarray, "height width *rgb"]) -> Image.Image:
    """Turn one grey or RGB image, values 0..1, into an RGB image of its own size.

    >>> to_image(np.ones((1, 2))).size
    (2, 1)
    """
    return Image.fromarray(to_rgb(image, coloured=image.ndim == 3))


def save_image(image: Image.Image, path: str | os.PathLike) -> Path:
    """Write a PNG atomically: a reader gets the old file or the whole new one.

    Args:
        image: What to write.
        path: Where; the folder is made if it is not there.

    Returns:
        The path.

    Raises:
        ValueError: If the name does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f'images are written as PNG: the name of "{path}" must end in .png')
    with atomic_write(path) as part:
        image.save(part, format="PNG")
    return path
