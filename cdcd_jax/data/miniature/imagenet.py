"""ImageNet in miniature, with a folder for each WordNet id in both splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdcd_jax.data.miniature.shapes import COLOURS, SHAPES, draw_shape

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")
"""The first four; each is one of the shapes."""

NUM_IMAGES = {"train": 8, "val": 4}
"""Of each class."""


def write_imagenet(folder: Path, split: str, images: Mapping[str, Sequence[bytes]]) -> None:
    """Write a split.

    Args:
        folder: Where ``train/`` and ``val/`` go.
        split: ``"train"`` or ``"val"``.
        images: Contents of the image files of each WordNet id.
    """
    number = 0
    for wnid, files in images.items():
        (folder / split / wnid).mkdir(parents=True, exist_ok=True)
        for data in files:
            number += 1
            name = f"{wnid}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08d}"
            (folder / split / wnid / f"{name}.JPEG").write_bytes(data)


def draw_imagenet(folder: Path) -> None:
    """Draw four classes, a shape each in colours of all kinds: 8 and 4 images of each."""
    for part, (split, number) in enumerate(NUM_IMAGES.items()):
        images = {
            wnid: [
                draw_shape(COLOURS[index % len(COLOURS)], shape, seed=100 * part + index)
                for index in range(number)
            ]
            for wnid, shape in zip(WNIDS, SHAPES, strict=True)
        }
        write_imagenet(folder, split, images)
