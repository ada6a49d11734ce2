"""Images in rows and columns with labels around them, as one RGB image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Real, UInt8
from PIL import Image, ImageDraw, ImageFont

INK, PAPER, EMPTY, MASK = (20, 20, 20), (255, 255, 255), (232, 232, 232), (120, 160, 220)
GAP = 3
FONT_SIZE = 16
CELL_SIZE = 48
"""About how many pixels the longer side of a small image gets; none is made smaller."""

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
    """Draw images in rows and columns, enlarged without smoothing, with labels around them.

    Args:
        images: Grey or RGB, values 0..1, clipped; an image of NaN is left out.
        row_labels: One label for each row, or none.
        column_labels: One label for each column, or none.
        caption: One line above it all.
        masked: Pixels to paint as [MASK] (blue) instead.
        cell_size: About how many pixels the longer side of an image gets; it is a whole multiple.

    Returns:
        An RGB image.

    Raises:
        ValueError: If the labels are not one for each row or column, or the images neither grey
            nor RGB.

    >>> draw_grid(np.zeros((2, 3, 8, 8)), row_labels=["0", "1"], cell_size=16).mode
    'RGB'
    """
    rows, columns, height, width, *channels = images.shape
    if channels not in ([], [3]):
        raise ValueError(f"images must be grey or RGB, got the shape {images.shape}")
    for name, labels, count in (("row", row_labels, rows), ("column", column_labels, columns)):
        if len(labels) not in (0, count):
            raise ValueError(f"{count} {name}s need {count} {name} labels, got {len(labels)}")
    scale = max(1, cell_size // max(height, width))
    pixels = (
        to_rgb(images, coloured=bool(channels), masked=masked)
        .repeat(scale, axis=2)
        .repeat(scale, axis=3)
    )
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


def to_rgb(
    images: Real[np.ndarray, "..."],
    *,
    coloured: bool,
    masked: Bool[np.ndarray, "*lead height width"] | None = None,
) -> UInt8[np.ndarray, "*lead height width 3"]:
    """Turn images into bytes.

    Args:
        images: [... height width], or [... height width 3] if coloured; values 0..1, clipped. NaN
            is the colour of what is left out.
        coloured: Whether the last axis is RGB.
        masked: Pixels to paint as [MASK] (blue) instead.

    Returns:
        RGB values 0..255.
    """
    colours = images if coloured else np.repeat(images[..., None], 3, axis=-1)
    missing = np.isnan(colours)
    rgb = np.round(np.clip(np.where(missing, 0.0, colours), 0.0, 1.0) * 255).astype(np.uint8)
    rgb[missing.any(axis=-1)] = EMPTY
    if masked is not None:
        rgb[masked] = MASK
    return rgb


def mask_pixels(
    masked: Bool[np.ndarray, "*lead length"], grid: tuple[int, int], size: tuple[int, int]
) -> Bool[np.ndarray, "*lead height width"]:
    """Spread what is said of tokens over the pixels that they stand for.

    Args:
        masked: Whether each token is a mask, row by row.
        grid: Rows and columns of the tokens.
        size: Height and width of the images, multiples of those.

    Returns:
        Whether each pixel is under a mask.

    >>> mask_pixels(np.array([True, False]), (1, 2), (1, 4)).tolist()
    [[True, True, False, False]]
    """
    cells = masked.reshape(*masked.shape[:-1], *grid)
    return cells.repeat(size[0] // grid[0], axis=-2).repeat(size[1] // grid[1], axis=-1)
