"""COCO captions of 2014 in miniature."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdcd_jax.data.miniature.shapes import COLOURS, SHAPES, describe_shape, draw_shape

NUM_IMAGES = {"train2014": 24, "val2014": 12}

CAPTIONS_EACH = 5


def write_coco(
    folder: Path,
    split: str,
    *,
    images: Any,
    captions: Any,
    files: Mapping[str, bytes],
    place: str | None = None,
) -> Path:
    """Write a split in the official layout.

    Args:
        folder: Where ``annotations/`` and the images go.
        split: Such as ``"train2014"``.
        images: The list ``images`` of the annotations; written as it is, right or wrong.
        captions: The list ``annotations``, likewise.
        files: Content of each image file, by name.
        place: Folder of the images within ``folder``; the split's name if None.

    Returns:
        The file of annotations.
    """
    root = folder / (place or split)
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    (folder / "annotations").mkdir(exist_ok=True)
    path = folder / "annotations" / f"captions_{split}.json"
    path.write_text(json.dumps({"images": images, "annotations": captions}, indent=1))
    return path


def draw_coco(folder: Path) -> None:
    """Draw both splits of 2014: 24 and 12 images of shapes with five captions each."""
    for split, number in NUM_IMAGES.items():
        images, captions, files = [], [], {}
        for index in range(number):
            # Colours and shapes repeat after 8 and 4; the shift keeps their combinations different.
            colour, shape = COLOURS[index % 8], SHAPES[(index + index // 8) % 4]
            identity = 1000 * len(split) + 7 * index
            name = f"COCO_{split}_{identity:012d}.jpg"
            images.append({"id": identity, "file_name": name, "width": 96, "height": 72})
            files[name] = draw_shape(colour, shape, seed=identity)
            for caption in describe_shape(colour, shape)[:CAPTIONS_EACH]:
                captions.append({"image_id": identity, "id": len(captions), "caption": caption})
        write_coco(folder, split, images=images, captions=captions, files=files)
