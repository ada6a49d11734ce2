"""Images of texts, each with its text below, and file names from texts."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, Int, Real
from PIL import Image, ImageDraw, ImageFont

from cdcd_jax.data.toy.glyph_drawing import font_file
from cdcd_jax.visualization.grid import GAP, INK, PAPER, to_rgb

CELL_SIZE = 128
"""About how many pixels the longer side of a small image gets, for the text to have room."""

WIDTH = 1400
"""Pixels across that are filled with texts beside each other before the next line begins."""

SPACE = 8
"""Pixels between texts beside each other, besides the gap of the images."""

TEXT_SIZE, LINE, MAX_LINES = 13, 16, 3
"""Of the texts: size and height of a line in pixels, and lines at most."""

NAME_LENGTH = 30
"""Letters of a text that go into the name of a file."""


def draw_prompts(
    images: Real[np.ndarray, "samples height width *rgb"],
    rows: Int[np.ndarray, " samples"],
    prompts: Sequence[str],
    *,
    caption: str = "",
    masked: Bool[np.ndarray, "samples height width"] | None = None,
    cell_size: int = CELL_SIZE,
) -> Image.Image:
    """Draw samples with the text they were made for below.

    The samples of a text stand in a row; texts stand beside each other as long as there is room.

    Args:
        images: Grey or RGB, values 0..1, clipped.
        rows: For each, the number of its text.
        prompts: The texts; one without samples is left out. Long ones are cut.
        caption: One line above it all.
        masked: Pixels to paint as [MASK] (blue) instead.
        cell_size: About how many pixels the longer side of an image gets; it is a whole multiple.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is nothing to draw, or an image has no text.

    >>> draw_prompts(np.zeros((2, 8, 8)), np.array([0, 0]), ["two black squares"]).size
    (273, 153)
    """
    if len(images) == 0:
        raise ValueError("0 samples leave nothing to draw")
    if rows.min() < 0 or rows.max() >= len(prompts):
        raise ValueError(f"images of the texts 0..{rows.max()} need as many, got {len(prompts)}")
    numbers, counts = np.unique(rows, return_counts=True)
    scale = max(1, cell_size // max(images.shape[1:3]))
    pixels = to_rgb(images, coloured=images.ndim == 4, masked=masked)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = pixels.shape[1:3]
    block = int(counts.max()) * (width + GAP) + SPACE
    columns = min(len(numbers), max(1, WIDTH // block))
    texts = [wrap(prompts[int(number)], block - GAP - SPACE) for number in numbers]
    step = height + max(map(len, texts)) * LINE + 2 * GAP
    top = GAP + (LINE + GAP) * bool(caption)
    font = text_font()
    right = max(GAP + columns * block, int(font.getlength(caption)) + 3 * GAP)
    canvas = Image.new("RGB", (right, top + -(-len(numbers) // columns) * step), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), caption, INK, font)
    for place, (number, lines) in enumerate(zip(numbers, texts, strict=True)):
        y, x = top + place // columns * step, GAP + place % columns * block
        for column, image in enumerate(pixels[rows == number]):
            canvas.paste(Image.fromarray(image), (x + column * (width + GAP), y))
        pen.text((x, y + height + 1), "\n".join(lines), INK, font, spacing=LINE - TEXT_SIZE)
    return canvas


def wrap(text: str, width: int, max_lines: int = MAX_LINES) -> list[str]:
    """Break a text into lines, between words where there is a choice.

    Args:
        text: Any text; line ends and tabs count as spaces.
        width: Pixels of a line.
        max_lines: At most so many, >= 1; what is left over becomes an ellipsis.

    Returns:
        The lines.

    >>> wrap("a cat on a mat, asleep since yesterday", 90, 2)
    ['a cat on a', 'mat, asleep…']
    """
    # No font draws half a surrogate pair, and no line holds more letters than pixels.
    text = " ".join(text.encode(errors="replace").decode().split())[: width * max_lines]
    lines = []
    while text and len(lines) < max_lines:
        count = _fitting(text, width)
        if count < len(text) and len(lines) == max_lines - 1:
            while count > 1 and not _fits(text[:count].rstrip() + "…", width):
                count -= 1
            lines.append(text[:count].rstrip() + "…")
            break
        if count < len(text) and " " in text[: count + 1]:
            count = text[: count + 1].rindex(" ")
        lines.append(text[:count].rstrip())
        text = text[count:].lstrip()
    return lines


def name_after_prompt(prompt: str) -> str:
    """Name a file after a text: its first letters and digits, and a digest of all of it.

    >>> name_after_prompt("A red bird, with a white belly!"), name_after_prompt("?")
    ('a_red_bird_with_a_white_belly-dfd902217ba0', '8a8de823d5ed')
    """
    words = "_".join(re.findall(r"\w+", prompt.lower()))[:NAME_LENGTH].rstrip("_")
    digest = hashlib.sha256(prompt.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{words}-{digest}" if words else digest


@cache
def text_font() -> ImageFont.FreeTypeFont:
    """Return a font that has most alphabets, unlike the one that Pillow falls back on."""
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(font_file("sans"), TEXT_SIZE, layout_engine=layout)


def _fitting(text: str, width: int) -> int:
    """Count the letters, at least one, that fit on a line."""
    count = 1
    while count < len(text) and _fits(text[: count + 1], width):
        count += 1
    return count


def _fits(text: str, width: int) -> bool:
    return text_font().getlength(text) <= width
