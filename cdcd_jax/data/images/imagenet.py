"""ImageNet (ILSVRC2012) in its usual layouts.

The official tars unpack to ``train/<wnid>/`` and to 50,000 validation images in one folder, whose
classes are in the development kit, as numbers of its own order, which its ``meta.mat`` turns into
wnids. Kaggle's release has both in ``ILSVRC/Data/CLS-LOC/``, and above it ``LOC_val_solution.csv``
with the classes and ``LOC_synset_mapping.txt`` with their names. Hugging Face's has the wnid at the
end of each image's name, ``n01751748_123_n01751748.JPEG``. Many copies have the validation
images in a folder for each wnid. A class's label is its wnid's place in order, as in the
published code and in torchvision.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from cdcd_jax.data.images.sources import ImageFiles, image_names, list_classes, sub_folders
from cdcd_jax.reading.json_text import read_json
from cdcd_jax.reading.matlab import check_mat
from cdcd_jax.reading.regular import LIST_BYTES, read_text, split_lines

DEVKIT = "ILSVRC2012_devkit_t12/data"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SOLUTION = "LOC_val_solution.csv"
MAPPING = "LOC_synset_mapping.txt"
CLASS_INDEX = "imagenet_class_index.json"

ROOTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
"""Where ``train/`` and ``val/`` are, from the folder that is given."""

WNID = re.compile(r"n\d{8}")
NAMED_WNID = re.compile(r"_(n\d{8})\.[^.]+$|^(n\d{8})_")
"""An image's name that says its class: at its end, or, of a training image, at its start."""


def load_imagenet(
    folder: str | Path,
    split: str = "train",
    *,
    class_index: str | Path | None = None,
    val_labels: str | Path | None = None,
) -> ImageFiles:
    """List ImageNet, or a part of its classes in the same layout.

    Args:
        folder: Holds ``train/`` and ``val/``, of which one is enough for that split; or the top of
            Kaggle's tree; or the images of the split themselves, in wnid folders or flat.
        split: ``"train"`` or ``"val"``.
        class_index: ``imagenet_class_index.json``, ``{"0": ["n01440764", "tench"], ...}``, or
            ``LOC_synset_mapping.txt``. Without it, or where none is found, the classes are called
            by their wnids.
        val_labels: The classes of flat validation images: ``LOC_val_solution.csv``, or
            ``ILSVRC2012_validation_ground_truth.txt`` beside its ``meta.mat``. By default they are
            taken from the images' names, or looked for around the images.

    Returns:
        The images, ordered by class and name, or by name where they are flat.

    Raises:
        ValueError: If something is missing, a class is empty, or the files contradict each other.
    """
    folder = Path(folder)
    if split not in ("train", "val"):
        raise ValueError(f'there is no split "{split}" of ImageNet, only "train" and "val"')
    sub_folders(folder)  # says so where there is no such folder
    root, places = _find_split(folder, split)
    named_by = (
        Path(class_index) if class_index is not None else _first(places, CLASS_INDEX, MAPPING)
    )
    named = _read_class_names(named_by) if named_by is not None else {}
    wnids = _wnids(root.parent / "train") if root.name in ("train", "val") else []
    wnids = wnids or sorted(named) or _wnids(root)
    if named and wnids != sorted(named):
        unlike = sorted(set(named) ^ set(wnids))[0]
        raise ValueError(f"{named_by} and the folders of {folder} differ in class {unlike}")
    if folders := sub_folders(root):
        if loose := image_names(root):
            raise ValueError(
                f"{root} holds folders, {folders[0]} first, and beside them loose images, "
                f"{loose[0]} first, {len(loose)} in all; put each image into its class's folder, "
                "or all of them flat"
            )
        names, labels = list_classes(root, wnids, all_classes=split == "train")
    else:
        names = image_names(root)
        listing, wnid_of = _list_flat(names, root, places, val_labels)
        wnids = wnids or sorted(set(wnid_of.values()))
        labels = _flat_labels(names, wnid_of, wnids, listing)
    class_names = [named.get(wnid, wnid) for wnid in wnids]
    return ImageFiles(f"imagenet, {split}", root, names, labels, class_names)


def _find_split(folder: Path, split: str) -> tuple[Path, list[Path]]:
    """Find the folder of a split, and those where its lists may be, the nearest first."""
    for place in ROOTS:
        root = folder / place
        if (root / split).is_dir():
            # Kaggle's lists are above its images, whichever of its folders is given.
            resolved = root.resolve()
            above = resolved.parents[:3] if resolved.name == "CLS-LOC" else ()
            return root / split, [root, *above, folder]
    other = "train" if split == "val" else "val"
    if any((folder / place / other).is_dir() for place in ROOTS):
        raise ValueError(
            f"{folder} has no folder {split}, only {other}; unpack those images too, or take "
            f'the split "{other}"'
        )
    images = image_names(folder) or any(map(WNID.fullmatch, sub_folders(folder)))
    if images and folder.resolve().name != other:
        return folder, [folder, folder.resolve().parent]
    raise ValueError(
        f"{folder} has neither {split}/ nor ILSVRC/Data/CLS-LOC/{split}/, and is not a folder of "
        "ImageNet's images, in folders such as n01440764 or flat"
    )


def _first(places: Sequence[Path], *names: str) -> Path | None:
    files = (place / name for place in places for name in names)
    return next((file for file in files if file.is_file()), None)


def _wnids(root: Path) -> list[str]:
    """List the classes of a folder of images: its sub-folders, or what flat names say."""
    if not root.is_dir():
        return []
    return sub_folders(root) or sorted(set(filter(None, map(_named_wnid, image_names(root)))))


def _named_wnid(name: str) -> str | None:
    found = NAMED_WNID.search(name)
    return found[1] or found[2] if found else None


def _read_class_names(path: Path) -> dict[str, str]:
    """Read the name of each wnid, in the order of the wnids."""
    return _read_class_index(path) if path.suffix == ".json" else _read_mapping(path)


def _read_mapping(path: Path) -> dict[str, str]:
    """Read Kaggle's file: lines of a wnid and the synset's words, of which the first is taken."""
    named: dict[str, str] = {}
    for number, line in enumerate(split_lines(read_text(path)), start=1):
        wnid, _, words = line.partition(" ")
        if not line.strip():
            continue
        if not (WNID.fullmatch(wnid) and words.strip()):
            raise ValueError(
                f'{path}: each line must be such as "n01440764 tench", not {wnid!r:.60}'
            )
        if wnid in named:
            raise ValueError(f"{path}, line {number}: {wnid} is listed twice; leave one of them")
        named[wnid] = words.split(",")[0].strip()
    return dict(sorted(named.items()))


def _read_class_index(path: Path) -> dict[str, str]:
    """Read the name of each wnid; the numbers must follow the order of the wnids."""
    try:
        entries = read_json(path, LIST_BYTES)
        named = {
            entries[str(k)][0]: entries[str(k)][1].replace("_", " ") for k in range(len(entries))
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a class index of the form "
            f'{{"0": ["n01440764", "tench"], ...}}: {error!r}'
        ) from error
    if list(named) != sorted(named) or len(named) != len(entries):
        raise ValueError(f"{path} does not number its classes in the order of their wnids")
    return named


def _list_flat(
    names: Sequence[str], root: Path, places: Sequence[Path], val_labels: str | Path | None
) -> tuple[str, dict[str, str]]:
    """Return what says the classes of flat images, and the wnid of each by its name's stem."""
    if val_labels is None:
        by_name = {name.split(".")[0]: wnid for name in names if (wnid := _named_wnid(name))}
        if len(by_name) == len(names):
            return "their names", by_name
    path = _find_val_labels(root, places) if val_labels is None else Path(val_labels)
    read = _read_solution if path.suffix == ".csv" else _read_ground_truth
    return str(path), read(path)


def _flat_labels(
    names: Sequence[str], wnid_of: dict[str, str], wnids: Sequence[str], listing: str
) -> list[int]:
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    labels = []
    for name in names:
        wnid = wnid_of.get(name.split(".")[0])
        if wnid not in label_of:
            known = f"of class {wnid}, which has no training folder" if wnid else "not listed"
            raise ValueError(f"{name} is {known}, by {listing}; take images and lists of one copy")
        labels.append(label_of[wnid])
    return labels


def _find_val_labels(root: Path, places: Sequence[Path]) -> Path:
    found = _first(places, SOLUTION, f"{DEVKIT}/{GROUND_TRUTH}", GROUND_TRUTH)
    if found is None:
        raise ValueError(
            f"the images of {root} lie flat, so their classes are needed: put "
            f"{SOLUTION} into {places[0]}, or the development kit as {DEVKIT}"
        )
    return found


def _read_solution(path: Path) -> dict[str, str]:
    """Read Kaggle's file: each row has an image and ``wnid x y x y`` of one box or more."""
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    wnid_of: dict[str, str] = {}
    try:
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has no columns ImageId and PredictionString")
        for row in rows:
            where, name = f"{path}, line {rows.line_num}", row["ImageId"]
            wnid = [*(row["PredictionString"] or "").split(), ""][0]
            if not (name and WNID.fullmatch(wnid)):
                raise ValueError(
                    f"{where}: {name!r:.60} has no class such as n01440764; the file is damaged "
                    "or cut off"
                )
            if wnid_of.setdefault(name, wnid) != wnid:
                raise ValueError(
                    f"{where}: {name} is of class {wnid}, but of {wnid_of[name]} further up; "
                    "leave one of them"
                )
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {rows.reader.line_num}: {error}; the file is damaged or another"
        ) from error
    return wnid_of


def _read_ground_truth(path: Path) -> dict[str, str]:
    """Read the kit's file: line i is the number of the class of validation image i."""
    lines = read_text(path).split()
    if not all(re.fullmatch(r"\d+", line) for line in lines):
        raise ValueError(f"{path} must hold one class number a line")
    meta = path.with_name("meta.mat")
    if not meta.exists():
        raise ValueError(f"{meta} is missing: it says which class each number of {path.name} is")
    wnid_of = _read_synsets(meta)
    return {
        f"ILSVRC2012_val_{number:08d}": wnid_of.get(int(line), "")
        for number, line in enumerate(lines, start=1)
    }


def _read_synsets(path: Path) -> dict[int, str]:
    """Read the wnid of each class number from the kit's ``meta.mat``."""
    try:
        check_mat(path)
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        numbers, wnids = (np.atleast_1d(synsets[key]).tolist() for key in ("ILSVRC2012_ID", "WNID"))
        if not all(map(WNID.fullmatch, wnids)):
            raise ValueError("a WNID is not such as n01440764")
        return dict(zip(map(int, numbers), wnids, strict=True))
    except Exception as error:  # of a damaged file scipy raises errors of any kind
        raise ValueError(
            f"{path} is not a meta.mat of the development kit, with ILSVRC2012_ID and WNID of its "
            f"synsets ({error!r:.100}); unpack the kit again"
        ) from error
