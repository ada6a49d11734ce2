"""PNG pictures of samples: a grid with a row for each class, and a strip of the reverse process."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Real
from PIL import Image, ImageDraw, ImageFont

DecodeFn = Callable[[np.ndarray], Any]
"""Tokens [batch length] -> pictures [batch height width] in grey or [batch height width 3] in RGB,
values 0..1: a codec's ``decode``."""

INK, PAPER, EMPTY, MASK = (20, 20, 20), (255, 255, 255), (232, 232, 232), (120, 160, 220)
GAP = 3
FONT_SIZE = 16
CELL_SIZE = 48
"""About how many pixels the longer side of a small picture gets; none is made smaller."""

LABEL_LENGTH = 20
"""Letters of a class's name that are shown."""


def draw_grid(
    images: Real[np.ndarray, "rows columns height width *rgb"],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    caption: str = "",
    masked: Bool[np.ndarray, "rows columns height width"] | None = None,
    cell_size: int = CELL_SIZE,
) -> Image.Image:
    """Draw pictures in rows and columns, enlarged without smoothing, with labels around them.

    Args:
        images: Grey or RGB, values 0..1, clipped; a picture of NaN is left out.
        row_labels: One label for each row, or none.
        column_labels: One label for each column, or none.
        caption: One line above it all.
        masked: Pixels to paint as [MASK] (blue) instead.
        cell_size: About how many pixels the longer side of a picture gets; it is a whole multiple.

    Returns:
        An RGB image.

    Raises:
        ValueError: If the labels are not one for each row or column, or the pictures neither grey
            nor RGB.

    >>> draw_grid(np.zeros((2, 3, 8, 8)), row_labels=["0", "1"], cell_size=16).mode
    'RGB'
    """
    rows, columns, height, width, *channels = images.shape
    if channels not in ([], [3]):
        raise ValueError(f"pictures must be grey or RGB, got the shape {images.shape}")
    for name, labels, count in (("row", row_labels, rows), ("column", column_labels, columns)):
        if len(labels) not in (0, count):
            raise ValueError(f"{count} {name}s need {count} {name} labels, got {len(labels)}")
    scale = max(1, cell_size // max(height, width))
    pixels = _to_rgb(images, masked).repeat(scale, axis=2).repeat(scale, axis=3)
    font = ImageFont.load_default(FONT_SIZE)
    left = GAP + max((int(font.getlength(label)) + 2 * GAP for label in row_labels), default=0)
    top = GAP + (FONT_SIZE + 2 * GAP) * (bool(caption) + bool(column_labels))
    step_y, step_x = height * scale + GAP, width * scale + GAP
    right = max(left + columns * step_x, int(font.getlength(caption)) + 3 * GAP)
    canvas = Image.new("RGB", (right, top + rows * step_y), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), caption, INK, font)
    for column, label in enumerate(column_labels):
        middle = left + column * step_x + width * scale // 2
        pen.text((middle, top - GAP), label, INK, font, anchor="md")
    for row in range(rows):
        y = top + row * step_y
        if row_labels:
            pen.text((GAP, y + height * scale // 2), row_labels[row], INK, font, anchor="lm")
        for column in range(columns):
            canvas.paste(Image.fromarray(pixels[row, column]), (left + column * step_x, y))
    return canvas


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
        labels: The classes asked for.
        decode_fn: The codec's way back.
        num_columns: At most so many of each class, the first ones; a class with fewer leaves gaps.
        caption: One line above the grid.
        cell_size: About how many pixels the longer side of a picture gets.
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
    """Draw pictures with what a codec makes of them below: pairs of rows.

    Args:
        originals: Values 0..1.
        reconstructions: Values 0..1, of the same shape.
        num_columns: At most so many pictures in a row; the last rows may have gaps.
        caption: One line above them.
        cell_size: About how many pixels the longer side of a picture gets.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is nothing to draw.
    """
    count = len(originals)
    if count == 0 or num_columns < 1:
        raise ValueError(f"{count} pictures in {num_columns} columns leave nothing to draw")
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


def label_names(labels: Int[np.ndarray, " rows"], class_names: Sequence[str] = ()) -> list[str]:
    """Name classes in a few letters each.

    Args:
        labels: The classes.
        class_names: Name of each class; without them the numbers are the names.

    Returns:
        A name for each label.

    >>> label_names(np.array([1, 0]), ["tench", "great white shark, white pointer"])
    ['great white shark, …', 'tench']
    """
    names = [str(class_names[label] if len(class_names) else label) for label in labels]
    return [name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…" for name in names]


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
        labels: The classes asked for.
        decode_fn: The codec's way back.
        grid: Rows and columns of the tokens.
        mask_id: K; these tokens are painted blue.
        num_frames: At most so many frames, evenly spaced, the first and the last among them.
        caption: One line above it.
        cell_size: About how many pixels the longer side of a picture gets.
        class_names: Name of each class, shortened to fit; their numbers if there are none.

    Returns:
        An RGB image; the columns are labelled with the number of steps done.

    Raises:
        ValueError: If fewer than two frames are asked for or given.
    """
    total, batch, length = trajectory.shape
    if min(num_frames, total) < 2:
        raise ValueError(f"a trajectory needs at least 2 frames, got {min(num_frames, total)}")
    chosen = np.unique(np.linspace(0, total - 1, num_frames).round().astype(int))
    tokens = trajectory[chosen].swapaxes(0, 1)
    masked = tokens == mask_id
    # No codec knows the mask; any token will do below the paint.
    images = np.asarray(decode_fn(np.where(masked, 0, tokens).reshape(-1, length)))
    height, width = images.shape[1:3]
    shape = (batch, len(chosen))
    masked = masked.reshape(*shape, *grid)
    masked = masked.repeat(height // grid[0], axis=2).repeat(width // grid[1], axis=3)
    return draw_grid(
        images.reshape(*shape, *images.shape[1:]),
        row_labels=label_names(labels, class_names),
        column_labels=[str(step) for step in chosen],
        caption=caption,
        masked=masked,
        cell_size=cell_size,
    )


def save_picture(picture: Image.Image, path: str | os.PathLike) -> Path:
    """Write a PNG so that a reader sees the old file or the whole new one, never half of it.

    Args:
        picture: What to write.
        path: Where; the folder is made if it is not there.

    Returns:
        The path.

    Raises:
        ValueError: If the name does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f'pictures are written as PNG: the name of "{path}" must end in .png')
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a rename is atomic within one file system only.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        picture.save(part, format="PNG")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _to_rgb(images: np.ndarray, masked: np.ndarray | None) -> np.ndarray:
    colours = images if images.ndim == 5 else np.repeat(images[..., None], 3, axis=-1)
    missing = np.isnan(colours)
    rgb = np.round(np.clip(np.where(missing, 0.0, colours), 0.0, 1.0) * 255).astype(np.uint8)
    rgb[missing.any(axis=-1)] = EMPTY
    if masked is not None:
        rgb[masked] = MASK
    return rgb
