"""CUB-200-2011 with the captions of Reed et al. in miniature."""

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cdcd_jax.data.miniature.shapes import SHAPES, describe_shape, draw_shape

SPECIES = ("red", "green", "blue", "yellow", "purple", "orange")
"""Colours that stand for species; the last two are for testing."""

NUM_TEST_SPECIES = 2


def write_cub(
    folder: Path,
    *,
    captions: Mapping[str, str],
    images: Mapping[str, bytes],
    train: Collection[int],
) -> None:
    """Write the set with its official split, and its captions beside ``CUB_200_2011``.

    Args:
        folder: Where ``CUB_200_2011/`` and ``text/`` go.
        captions: An image's captions, a line each, by ``<class>/<image>`` without a suffix.
        images: Content of each image file, by the same names.
        train: Places in ``captions`` that are for training.
    """
    root = folder / "CUB_200_2011"
    for name, text in captions.items():
        for path, content in (
            (root / "images" / f"{name}.jpg", images[name]),
            (folder / "text" / f"{name}.txt", text.encode()),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    lines = [f"{number} {name}.jpg\n" for number, name in enumerate(captions, start=1)]
    (root / "images.txt").write_text("".join(lines))
    flags = [f"{number + 1} {int(number in train)}\n" for number in range(len(captions))]
    (root / "train_test_split.txt").write_text("".join(flags))


def write_cub_list(folder: Path, part: str, names: Any, protocol: int = 0) -> Path:
    """Write the pickled list of a part of the split by species.

    Args:
        folder: Beside or inside ``CUB_200_2011``.
        part: ``"train"`` or ``"test"``.
        names: List of ``<class>/<image>`` without a suffix; written as it is, right or wrong.
        protocol: Of the pickle; 0 as published.

    Returns:
        The file.
    """
    (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / part / "filenames.pickle"
    path.write_bytes(pickle.dumps(names, protocol=protocol))
    return path


def draw_cub(folder: Path) -> None:
    """Draw six species of four images, ten captions each, with both splits."""
    captions, images = {}, {}
    for number, colour in enumerate(SPECIES, start=1):
        title = f"{colour.title()}_Shape"
        for shape in SHAPES:
            index = len(captions)
            name = f"{number:03d}.{title}/{title}_{index:04d}_{1000 + index}"
            captions[name] = "\n".join(describe_shape(colour, shape)) + "\n"
            images[name] = draw_shape(colour, shape, seed=index)
    write_cub(folder, captions=captions, images=images, train=range(0, len(captions), 2))
    names, first_test = list(captions), (len(SPECIES) - NUM_TEST_SPECIES) * len(SHAPES)
    write_cub_list(folder, "train", names[:first_test])
    write_cub_list(folder, "test", [f"{name}\r" for name in names[first_test:]])  # as published
