"""Characters drawn in the DejaVu fonts, and groups of those that look the same."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from cdcd_jax.data.toy.glyph_names import CHARACTERS, STYLES

SIZE = 32
"""Default height and width of an image, in pixels."""


LETTER_SIZE, BASELINE = 0.66, 0.76
"""Font size and height of the baseline, in images: Ж fits in serif bold italic, and so does Å."""


class Variant(NamedTuple):
    """The difference of a drawing from the centred one.

    Attributes:
        scale: Size of the letter, 0..1 of the usual one.
        down: Pixels it is moved down.
        right: Pixels it is moved to the right.
    """

    scale: float = 1.0
    down: int = 0
    right: int = 0


def draw_glyph(character: str, style: str, size: int, variant: Variant) -> Image.Image:
    """Draw a character on the baseline, its ink in the middle from left to right.

    Args:
        character: One of ``CHARACTERS``.
        style: One of ``STYLES``.
        size: Height and width of the image.
        variant: How it departs from the middle and from the usual size; a letter that would leave
            the image is moved less.

    Returns:
        A grey image, black on white.

    Raises:
        ValueError: If the font is missing.
    """
    font = _load_font(style, LETTER_SIZE * size * variant.scale)
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    x = (size - round(right - left)) // 2 - round(left) + variant.right
    y = round(BASELINE * size) + variant.down
    x = min(max(x, -round(left)), size - round(right))
    y = min(max(y, -round(top)), size - round(bottom))
    cell = Image.new("L", (size, size), 255)
    ImageDraw.Draw(cell).text((x, y), character, 0, font, anchor="ls")
    return cell


@cache
def _load_font(style: str, points: float) -> ImageFont.FreeTypeFont:
    # The basic layout, as not every Pillow can do the other one.
    return ImageFont.truetype(font_file(style), points, layout_engine=ImageFont.Layout.BASIC)


@cache
def shape_classes() -> dict[str, int]:
    """Number the shapes of all characters, in the order of ``CHARACTERS``.

    Characters whose images in DejaVu Sans are the same, pixel by pixel, share a number: they
    are indistinguishable.

    Returns:
        The number of each character's shape, 0..shapes-1.

    >>> shapes = shape_classes()
    >>> shapes["A"] == shapes["\N{GREEK CAPITAL LETTER ALPHA}"], shapes["A"] == shapes["a"]
    (True, False)
    """
    numbers: dict[bytes, int] = {}
    return {c: numbers.setdefault(_centred(c, STYLES[0]), len(numbers)) for c in CHARACTERS}


def font_file(style: str) -> Path:
    """Return the path of the DejaVu font of a style.

    Args:
        style: One of ``STYLES``.

    Returns:
        A TrueType file.

    Raises:
        ValueError: If it is not there.

    >>> font_file("mono bold italic").name
    'DejaVuSansMono-BoldOblique.ttf'
    """
    family, *words = style.split()
    name = {"sans": "DejaVuSans", "serif": "DejaVuSerif", "mono": "DejaVuSansMono"}[family]
    slanted = "Italic" if family == "serif" else "Oblique"
    form = "Bold" * ("bold" in words) + slanted * ("italic" in words)
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}{'-' * bool(form)}{form}.ttf")
    if not path.is_file():
        raise ValueError(f"there is no font {path}, which comes with matplotlib; install it anew")
    return path


def look_alikes() -> list[list[str]]:
    """Group the characters so that those which look the same in some style are together.

    Returns:
        Groups of one or more, in which each character is once.
    """
    group_of = {character: [character] for character in CHARACTERS}
    for style in STYLES:
        first: dict[bytes, str] = {}
        for character in CHARACTERS:
            ours = group_of[character]
            theirs = group_of[first.setdefault(_centred(character, style), character)]
            if theirs is not ours:
                theirs += ours
                group_of |= dict.fromkeys(ours, theirs)
    unique = {id(group): group for group in group_of.values()}
    return list(unique.values())


@cache
def _centred(character: str, style: str) -> bytes:
    return draw_glyph(character, style, SIZE, Variant()).tobytes()
