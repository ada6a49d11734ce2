"""Emoji with their names and keywords, 64x64 pixels, in several art styles.

A folder with ``<style>.npz`` (``images``, uint8 [images height width 3]) and ``<style>.jsonl``
(line i describes image i) for each style. A description has the emoji's ``caption``, its ``base``
(the caption without a skin tone), ``tags`` (keywords), ``skin_tone`` and ``key``. Only emoji
without a skin tone are used.

The split is by base, from the base alone: an emoji is in the same split in every style, so no test
caption names what training has drawn in another style.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cdcd_jax.data.images.caption_files import CaptionedImages, check_caption, read_json_lines
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.reading.arrays import read_array, read_layouts

STYLES = {
    "fluent_3d": "3d style",
    "fluent_flat": "flat style",
    "twemoji": "twemoji style",
    "emojione": "emojione style",
}
"""What the captions call each style."""

SPLITS = ("train", "test")

TEST_SHARE = 10
"""One base in so many is tested."""

MAX_TAGS = 5
"""Of a caption; some emoji have sixteen."""


def load_emoji(
    folder: str | Path, split: str = "train", *, styles: Iterable[str] = tuple(STYLES)
) -> CaptionedImages:
    """Load one split of the emoji.

    Each has one or two captions: its name and the style; the same with keywords between them. A
    image that a style has under several names counts once, under the first.

    Args:
        folder: Holds the files of the styles.
        split: ``"train"`` or ``"test"``: a tenth of the bases.
        styles: Which of ``STYLES`` to load.

    Returns:
        PNG images, style after style, without classes: a label is the number of the base.

    Raises:
        ValueError: If there is no such split or style, or a file is missing or malformed.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of the emoji, only "train" and "test"')
    styles = [styles] if isinstance(styles, str) else list(styles)
    if unknown := [style for style in styles if style not in STYLES]:
        raise ValueError(
            f'there is no style "{unknown[0]}" of the emoji; choose among {", ".join(STYLES)}'
        )
    names, bases, captions, drawings = [], [], [], []
    for style in styles:
        for row, image in _read_style(Path(folder), style):
            if _is_tested(row["base"]) == (split == "test"):
                names.append(f"{style} {row['key']}")
                bases.append(row["base"])
                captions.append(caption_emoji(row["caption"], row["tags"], style))
                drawings.append(image)
    if not names:
        raise ValueError(f"{folder} holds no emoji of the split {split} in {styles}")
    numbers = {base: number for number, base in enumerate(sorted(set(bases)))}
    labels = [numbers[base] for base in bases]
    images = ImageBytes(
        f"emoji {' '.join(styles)}, {split}", list(map(_to_png, drawings)), labels, (), names=names
    )
    return CaptionedImages(images, captions)


def caption_emoji(name: str, tags: Sequence[str], style: str) -> tuple[str, ...]:
    """Describe an emoji in one way or, with keywords that its name lacks, two.

    >>> caption_emoji("carousel horse", ["carousel", "entertainment", "horse"], "fluent_3d")
    ('carousel horse, 3d style', 'carousel horse, entertainment, 3d style')
    """
    known = set(name.lower().replace(":", " ").split())
    words = [tag for tag in tags if any(map(str.isalpha, tag))]  # some are numbers or signs
    more = [tag for tag in words if not set(tag.lower().split()) <= known][:MAX_TAGS]
    plain = f"{name}, {STYLES[style]}"
    return (plain, ", ".join([name, *more, STYLES[style]])) if more else (plain,)


def _is_tested(base: str) -> bool:
    # A digest in place of a random number: the same everywhere, forever.
    return int.from_bytes(hashlib.sha256(base.encode()).digest()[:8]) % TEST_SHARE == 0


def _read_style(folder: Path, style: str) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Read the emoji without a skin tone, each image once."""
    path = folder / f"{style}.jsonl"
    rows = list(read_json_lines(path))
    images = _read_images(folder / f"{style}.npz")
    if len(rows) != len(images):
        raise ValueError(
            f"{path} describes {len(rows)} images, and {style}.npz holds {len(images)}; "
            "take both files from one copy of the set"
        )
    kept, seen = [], set()
    for (where, row), image in zip(rows, images, strict=True):
        _check_row(row, where)
        digest = hashlib.sha256(image.tobytes()).digest()
        if row["skin_tone"] is None and digest not in seen:
            seen.add(digest)
            kept.append((row, image))
    return kept


def _read_images(path: Path) -> UInt8[np.ndarray, "images height width 3"]:
    try:
        shape, dtype, _ = read_layouts(path, ("images",))["images"]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no images: {error}") from error
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"the images of {path} must be uint8 [images height width 3], got {dtype} {shape}"
        )
    return read_array(path, "images")


def _check_row(row: dict[str, Any], where: str) -> None:
    for field in ("caption", "base", "tags", "skin_tone", "key"):
        if field not in row:
            raise ValueError(f'{where}: the description has no "{field}"')
    check_caption(row["caption"], where)
    check_caption(row["base"], where)
    if not isinstance(row["tags"], list):
        raise ValueError(f"{where}: tags must be a list of words, not {row['tags']!r:.60}")
    for tag in row["tags"]:
        check_caption(tag, where)


def _to_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
