"""COCO captions (Lin et al. 2014, Chen et al. 2015) in the official layout, cocodataset.org.

``annotations/captions_<split>.json`` and the images in ``<split>/``, ``images/<split>/`` or
``<split>/<split>/``, with the splits train2014 (82,783 images), val2014 (40,504), train2017
(118,287) and val2017 (5,000); about five captions an image. There are no classes: every image is
a group of its own.
"""

import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.caption_files import (
    CaptionedImages,
    check_caption,
    find_repeated,
)
from cdcd_jax.data.images.sources import ImageFiles, image_names
from cdcd_jax.reading.json_text import read_json

SPLITS = ("train2014", "val2014", "train2017", "val2017")


def load_coco(folder: str | Path, split: str = "train2014") -> CaptionedImages:
    """List the images of a split with their captions.

    Images without a caption are left out; their number is printed to stderr.

    Args:
        folder: Holds ``annotations/`` and the images.
        split: One of ``SPLITS``.

    Returns:
        The images in the order of their numbers. A label is the place in this order.

    Raises:
        ValueError: If something is missing, an image is listed twice, or a caption is of no
            image, empty or no text; the sentence names it.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of COCO, only {", ".join(SPLITS)}')
    folder = Path(folder)
    path = folder / "annotations" / f"captions_{split}.json"
    if not path.exists():
        raise ValueError(f"there is no {path}; unpack annotations_trainval{split[-4:]}.zip there")
    content = read_json(path)
    file_names = _read_images(content, path)
    captions: dict[int, list[str]] = {number: [] for number in sorted(file_names)}
    owners = []
    for where, entry in _entries(content, "annotations", {"image_id", "caption"}, path):
        number = entry["image_id"]
        if not isinstance(number, int) or number not in captions:
            raise ValueError(f'{where}: a caption is of image {number!r}, which "images" lacks')
        captions[number].append(check_caption(entry["caption"], where))
        owners.append(number)
    described = [number for number in captions if captions[number]]
    if left_out := len(captions) - len(described):
        print(f"Left out {left_out} images of {path} without a caption", file=sys.stderr)
    names = [file_names[number] for number in described]
    root = _find_images(folder, split)
    check_present(names, image_names(root), root, path)
    images = ImageFiles(f"coco, {split}", root, names, range(len(names)), ())
    # The published lists of negatives have an entry for each caption, in the file's order.
    listed = [file_names[number] for number in owners]
    texts = [captions[number] for number in described]
    return CaptionedImages(images, texts, listed_names=listed)


def check_present(
    names: Collection[str], present: Iterable[str], folder: Path, listing: Path
) -> None:
    """Raise a ValueError if images that a file names are not in a folder."""
    known = set(present)
    if missing := [name for name in names if name not in known]:
        raise ValueError(
            f"{folder} lacks {len(missing)} of the {len(names)} images that {listing} names, "
            f"{missing[0]} first; unpack all of them there"
        )


def _read_images(content: Any, path: Path) -> dict[int, str]:
    """Read the file name of each image by its number."""
    file_names: dict[int, str] = {}
    for where, entry in _entries(content, "images", {"id", "file_name"}, path):
        number, name = entry["id"], entry["file_name"]
        if not isinstance(number, int) or not isinstance(name, str):
            raise ValueError(f"{where}: an id must be a number and a file_name a text")
        if number in file_names:
            raise ValueError(f"{where}: image {number} is listed twice; list it once")
        file_names[number] = name
    if repeated := find_repeated(file_names.values()):
        raise ValueError(f"{path} lists {repeated} twice; list it once")
    return file_names


def _entries(
    content: Any, key: str, fields: set[str], path: Path
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield the position and the content of each object of one of the file's lists."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f'{path} has no list "{key}", so it is not a file of COCO captions')
    for number, entry in enumerate(entries):
        where = f"{path}, {key}[{number}]"
        if not isinstance(entry, dict) or not fields <= set(entry):
            raise ValueError(f"{where}: this must be an object with {' and '.join(sorted(fields))}")
        yield where, entry


def _find_images(folder: Path, split: str) -> Path:
    places = [folder / split / split, folder / split, folder / "images" / split]
    for place in places:
        if place.is_dir():
            return place
    raise ValueError(f"{folder} has no folder {split} with images; unpack {split}.zip there")
