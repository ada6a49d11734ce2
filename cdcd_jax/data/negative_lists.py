"""Lists of inter negatives in files.

The published code draws the inter negatives of captioned images beforehand, ten for each example,
and reads them from one JSON file (``negative_sample_path`` of its data sets). The file is a list of
lists. CUB's has an entry for each name of ``train/filenames.pickle``, in order, of paths of
images; COCO's has one for each caption of ``captions_train2014.json``, in order, of numbers of
images; AIST++'s (``aist_extra_negative_samples.json``) one for each training piece of 6 s, in
their list's order, of paths of sound files. A file of one's own may be an object instead,
``{"a.jpg": ["b.jpg", "c.jpg"], ...}``.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int

from cdcd_jax.data.negatives import ListedNegatives
from cdcd_jax.reading.json_text import read_json


def load_negatives(
    path: str | Path,
    names: Sequence[str],
    image_of: Int[np.ndarray, " examples"],
    group: Int[np.ndarray, " examples"],
    *,
    listed_names: Sequence[str] | None = None,
) -> ListedNegatives:
    """Read the negatives of a set of examples.

    Where several entries belong to an image, as COCO's captions do, its list is all of theirs.
    Listed images that were not prepared, because they could not be decoded, are skipped.

    Args:
        path: The file.
        names: Name of each image in its source.
        image_of: [examples] the image that an example is a view of.
        group: [examples] int; an image of the own group is never drawn.
        listed_names: Name of the image that each entry of a list of lists is for; None where
            only an object will do.

    Returns:
        The lists, to draw from.

    Raises:
        ValueError: If the file is malformed or of other images, or an image has no list.
    """
    path = Path(path)
    content = read_entries(path)
    if isinstance(content, dict):
        entries = list(content.items())
    else:
        entries = list(zip(_entry_names(content, listed_names, path), content, strict=True))
    finder = _Finder(names, path)
    listed: list[set[int]] = [set() for _ in names]
    for name, others in entries:
        found = [finder.find(other, name) for other in others]
        if (own := finder.find(name, name)) is not None:
            listed[own].update(image for image in found if image is not None)
    if not any(listed):
        raise ValueError(
            f"{path} names none of the {len(names)} images; it belongs to another set or split"
        )
    group_of = dict(zip(image_of.tolist(), group.tolist(), strict=True))
    lacking = [
        names[image]
        for image, found in enumerate(listed)
        if all(group_of[other] == group_of[image] for other in found)
    ]
    if lacking:
        raise ValueError(
            f"{path} has no negatives of another group for {len(lacking)} of the {len(names)} "
            f"images, {lacking[0]} first; add them, or leave the file out to draw from all "
            "other groups"
        )
    return ListedNegatives([sorted(found) for found in listed], image_of, group)


def read_entries(path: Path) -> dict[str, list[Any]] | list[list[Any]]:
    """Read a list's entries; whether they are of the right images is not known yet.

    Raises:
        ValueError: If the file is not JSON, or malformed.
    """
    content = read_json(path)
    if not isinstance(content, dict | list):
        raise ValueError(
            f"{path} must be a list of lists or an object of lists, as docs/guides/data.md"
        )
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for name, others in pairs:
        if not isinstance(others, list):
            raise ValueError(f"{path}: the negatives of {name} must be a list, not {others!r:.60}")
    return content


def _entry_names(
    content: list[Any], listed_names: Sequence[str] | None, path: Path
) -> Iterable[str]:
    if listed_names is None:
        raise ValueError(
            f"{path} is a list, and only a set with captions or dances says which example each "
            'entry is for; write an object instead, {"a.jpg": ["b.jpg", "c.jpg"], ...}'
        )
    if len(content) != len(listed_names):
        raise ValueError(
            f"{path} has {len(content)} entries, and the set needs {len(listed_names)}, one "
            "for each image, of COCO for each caption, of AIST++ for each piece of 6 s; take the "
            "file of this split"
        )
    return listed_names


class _Finder:
    """A lookup of images by name, by a path that ends in it, or by number."""

    def __init__(self, names: Sequence[str], path: Path):
        self._path = path
        self._by_name = {name: image for image, name in enumerate(names)}
        # COCO's numbers: COCO_train2014_000000000009.jpg. In other sets they are not unique.
        ends = [PurePosixPath(name).stem.rpartition("_")[2] for name in names]
        numbers = [int(end) for end in ends if end.isascii() and end.isdigit()]
        unique = len(set(numbers)) == len(names)
        self._by_number = dict(zip(numbers, range(len(names)), strict=True)) if unique else {}

    def find(self, called: Any, owner: str) -> int | None:
        """Return an image's number among the names, None if it is not there."""
        if isinstance(called, int) and not isinstance(called, bool):
            return self._by_number.get(called)
        if not isinstance(called, str):
            raise ValueError(
                f"{self._path}: the negatives of {owner} must be names or numbers, "
                f"not {called!r:.60}"
            )
        called = called.strip()  # a carriage return, in lists that were written on Windows
        if called in self._by_name:
            return self._by_name[called]
        # Paths may have been written on another computer: their ends still hold.
        path = PurePosixPath(called)
        tails = ["/".join(path.parts[start:]) for start in range(1, len(path.parts))]
        tails.append(path.stem)  # a piece of music, whose name has no ending
        return next((self._by_name[tail] for tail in tails if tail in self._by_name), None)
