"""Groceries on shop shelves, 64x64 pixels, 81 classes: a small set of real photographs.

Made from the Grocery Store Dataset (Klasson, Zhang and Kjellstrom, WACV 2019; MIT licence,
github.com/marcusklasson/GroceryStoreDataset): the central square of each photograph, resized to
64x64, as JPEG bytes in one ``grocery64_jpeg.npz``, and ``classes.json`` with the classes' names.
16 to 70 training images a class; the validation split lacks 21 classes.
"""

from itertools import pairwise
from pathlib import Path

from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.reading.arrays import read_layouts, read_npz
from cdcd_jax.reading.json_text import parse_json
from cdcd_jax.reading.regular import LIST_BYTES, read_bytes

FILE = "grocery64_jpeg.npz"

SPLITS = ("train", "val", "test")


def load_grocery(folder: str | Path, split: str = "train") -> ImageBytes:
    """Load one split.

    Args:
        folder: Holds ``grocery64_jpeg.npz``, with ``<split>_jpeg`` (all images' bytes, uint8),
            ``<split>_offsets`` (where each starts, and the end) and ``<split>_fine`` (labels), and
            ``classes.json``, a list of objects with ``id`` and ``name``.
        split: ``"train"`` (2,640 images), ``"val"`` (296) or ``"test"`` (2,485).

    Returns:
        The images with the fine classes' names.

    Raises:
        ValueError: If there is no such split, or a file is missing or malformed.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of the groceries, only {list(SPLITS)}')
    folder = Path(folder)
    try:
        listing = folder / "classes.json"
        classes = parse_json(read_bytes(listing, LIST_BYTES).decode(), str(listing))
        names = [entry["name"] for entry in sorted(classes, key=lambda entry: entry["id"])]
        parts = [f"{split}_{part}" for part in ("jpeg", "offsets", "fine")]
        layouts = read_layouts(folder / FILE, parts)
        if any(layouts[part].dtype.kind not in "iu" for part in parts):
            raise ValueError(f"{split} is not whole numbers")
        found = read_npz(folder / FILE, tuple(parts))
        data = found[parts[0]].tobytes()
        offsets, labels = found[parts[1]].tolist(), found[parts[2]].tolist()
    except OSError as error:
        raise ValueError(
            f"{folder} must hold {FILE} and classes.json: {error.filename or FILE} cannot be read"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder} holds {FILE} or classes.json in another form: {error}"
        ) from error
    if len(offsets) != len(labels) + 1 or offsets[-1] != len(data) or max(labels) >= len(names):
        raise ValueError(f"{folder / FILE} contradicts itself: its {split} split is damaged")
    images = [data[a:b] for a, b in pairwise(offsets)]
    return ImageBytes(f"grocery, {split}", images, labels, names)
