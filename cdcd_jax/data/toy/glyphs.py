"""Letters as images with captions: outlines of the DejaVu fonts, which come with matplotlib.

239 characters (digits, Latin, Greek and Cyrillic letters) in 12 styles (sans, serif or mono; bold
or not; italic or not), black on white. A caption is the character's Unicode name and the style:
"greek capital letter omega, serif bold italic".

The split is by combination: every character is tested in two of the twelve styles and trained in
the ten others, so that a test caption joins known words in a way never seen. Characters that look
alike in some style (Latin A, Greek Alpha and Cyrillic A) are tested in the same two, so that no
test image is a training image under another name. (One of the 478 is like a training image
of another style all the same: the strokes of the Greek Xi are as thick as those of its bold form
drawn smaller.)
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Int
from PIL import Image

from cdcd_jax.data.images.decoding import image_rng
from cdcd_jax.data.images.sources import EncodedImage
from cdcd_jax.data.toy.glyph_drawing import SIZE, Variant, draw_glyph, look_alikes, shape_classes
from cdcd_jax.data.toy.glyph_names import (
    CHARACTERS,
    FAMILIES,
    SCRIPTS,
    STYLES,
    caption_glyph,
    find_script,
)

SPLITS = ("train", "test")

MIN_SIZE = 16
"""Of an image; in fewer pixels the styles run together."""

NUM_TEST_STYLES = 2
"""Of the twelve, those that a character is tested in."""

SCALES, MAX_SHIFT = (1.0, 0.95, 0.9), 1
"""Sizes of the training variants, and their shifts in pixels of an image of 32."""


class GlyphImages:
    """Drawn characters in memory; made by ``load_glyphs``.

    Attributes:
        characters: The character of each image.
        styles: [images] number of its style in ``STYLES``.
        shapes: [images] number of its shape, as ``shape_classes`` has it.
        class_names: Empty: an image's label is its combination, 12 * character + style.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[bytes],
        characters: Sequence[str],
        styles: Int[np.ndarray, " images"],
        fingerprint: str,
    ):
        self.name, self.fingerprint = name, fingerprint
        self.class_names: tuple[str, ...] = ()
        self.characters, self.styles = tuple(characters), styles
        self.shapes = np.array([shape_classes()[character] for character in characters])
        self._images = images

    def __len__(self) -> int:
        """Count the images."""
        return len(self._images)

    def __getitem__(self, index: int, /) -> EncodedImage:
        """Return an image, its canonical caption first."""
        character, style = self.characters[index], int(self.styles[index])
        label = CHARACTERS.index(character) * len(STYLES) + style
        name = f"{index} U+{ord(character):04X} {STYLES[style]}"
        return EncodedImage(
            name, label, self._images[index], caption_glyph(character, STYLES[style])
        )


def load_glyphs(
    split: str,
    *,
    size: int = SIZE,
    num_variants: int = 4,
    seed: int = 0,
    scripts: Sequence[str] = SCRIPTS,
    families: Sequence[str] = FAMILIES,
) -> GlyphImages:
    """Draw one split of the characters.

    Args:
        split: ``"train"``, or ``"test"``: the combinations that training lacks.
        size: Height and width of the images, >= 16.
        num_variants: Images of each training combination, >= 1: the first is centred, the others
            are smaller or shifted a little. A test combination has a centred one only.
        seed: Seed of the variants, >= 0.
        scripts: Which of ``SCRIPTS`` to draw.
        families: Which of ``FAMILIES`` to draw.

    Returns:
        PNG images, those of one combination together.

    Raises:
        ValueError: If there is no such split, script or family, a number is too small, or a font is
            missing.

    >>> glyphs = load_glyphs("test", scripts=["greek capital letter"], families=["serif"])
    >>> glyphs[0].captions[0], glyphs[0].name
    ('greek capital letter delta, serif bold italic', '0 U+0394 serif bold italic')
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of the glyphs, only "train" and "test"')
    if size < MIN_SIZE or num_variants < 1:
        raise ValueError(
            f"size must be at least {MIN_SIZE} and num_variants at least 1, got {size} and "
            f"{num_variants}"
        )
    _check_choice("scripts", scripts, SCRIPTS)
    _check_choice("families", families, FAMILIES)
    images, characters, styles = [], [], []
    digest = hashlib.sha256()
    for character in CHARACTERS:
        if find_script(character) not in scripts:
            continue
        for style, style_name in enumerate(STYLES):
            tested = style in _test_styles()[character]
            if tested != (split == "test") or style_name.split()[0] not in families:
                continue
            number = CHARACTERS.index(character) * len(STYLES) + style
            digest.update("\n".join(caption_glyph(character, style_name)).encode())
            for variant in range(1 if tested else num_variants):
                drawn = _choose_variant(seed, number, variant, size)
                cell = draw_glyph(character, style_name, size, drawn)
                digest.update(cell.tobytes())
                images.append(_to_png(cell))
                characters.append(character)
                styles.append(style)
    if not images:
        raise ValueError(
            f"no combination of {list(scripts)} and {list(families)} is in the split {split}; "
            "choose more of them"
        )
    name = f"glyphs, {split}"
    return GlyphImages(name, images, characters, np.array(styles), digest.hexdigest())


@cache
def _test_styles() -> dict[str, tuple[int, ...]]:
    """Choose the styles that each character is tested in.

    Look-alikes choose together. Six choices in turn deal out all twelve styles, so that each is
    about equally often tested. Digests in place of random numbers: the same everywhere, forever.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    per_deal = len(STYLES) // NUM_TEST_STYLES
    for number, group in enumerate(look_alikes()):
        deal, place = divmod(number, per_deal)
        order = sorted(
            range(len(STYLES)), key=lambda s: hashlib.sha256(f"{deal} {s}".encode()).digest()
        )
        styles = tuple(sorted(order[place * NUM_TEST_STYLES : (place + 1) * NUM_TEST_STYLES]))
        chosen |= dict.fromkeys(group, styles)
    return chosen


def _choose_variant(seed: int, combination: int, variant: int, size: int) -> Variant:
    if variant == 0:
        return Variant()
    rng = image_rng(seed, combination, variant)
    reach = round(MAX_SHIFT * size / SIZE)
    down, right = rng.integers(-reach, reach + 1, 2)
    return Variant(float(rng.choice(SCALES)), int(down), int(right))


def _to_png(cell: Image.Image) -> bytes:
    file = io.BytesIO()
    cell.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _check_choice(name: str, chosen: Iterable[str], known: tuple[str, ...]) -> None:
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    unknown = [choice for choice in chosen if choice not in known]
    if unknown or not chosen:
        what = f'names "{unknown[0]}"' if unknown else "is empty"
        raise ValueError(f"{name} {what}; choose among {', '.join(known)}")
