"""ImageNet (ILSVRC2012) as it is distributed: ``train/<wnid>/`` and 50,000 validation pictures.

The official tar unpacks the validation pictures flat, ``val/ILSVRC2012_val_00000001.JPEG`` and so
on. Their classes are in the development kit, as numbers of its own order, which its ``meta.mat``
turns into wnids; or, by name, in the ``LOC_val_solution.csv`` of the Kaggle release. Many copies
have the pictures moved into a folder per wnid already. A class's label is its wnid's place in
order, as in the published code and in torchvision.
"""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from scipy.io import loadmat

from cdcd_jax.data.sources import PictureFiles, list_classes, picture_names, sub_folders

DEVKIT = "ILSVRC2012_devkit_t12/data"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SOLUTION = "LOC_val_solution.csv"


def load_imagenet(
    folder: str | Path,
    split: str = "train",
    *,
    class_index: str | Path | None = None,
    val_labels: str | Path | None = None,
) -> PictureFiles:
    """List ImageNet, or a part of its classes in the same layout.

    Args:
        folder: Holds ``train/<wnid>/*.JPEG`` and ``val/``.
        split: ``"train"`` or ``"val"``.
        class_index: ``imagenet_class_index.json``, ``{"0": ["n01440764", "tench"], ...}``; without
            it, or where ``folder`` has none, the classes are called by their wnids.
        val_labels: The classes of flat validation pictures: ``LOC_val_solution.csv``, or
            ``ILSVRC2012_validation_ground_truth.txt`` beside its ``meta.mat``. By default they are
            looked for in ``folder`` and in ``folder/ILSVRC2012_devkit_t12/data``.

    Returns:
        The pictures, ordered by class and name, or by name where they lie flat.

    Raises:
        ValueError: If something is missing, a class is empty, or the files contradict each other.
    """
    folder = Path(folder)
    if split not in ("train", "val"):
        raise ValueError(f'there is no split "{split}" of ImageNet, only "train" and "val"')
    root = folder / split
    folders = sub_folders(root)
    if class_index is None and (folder / "imagenet_class_index.json").exists():
        class_index = folder / "imagenet_class_index.json"
    named = _read_class_index(Path(class_index)) if class_index is not None else {}
    if (folder / "train").is_dir():
        wnids = sub_folders(folder / "train")
    else:
        wnids = sorted(named) or folders
    if named and wnids != sorted(named):
        unlike = sorted(set(named) ^ set(wnids))[0]
        raise ValueError(f"{class_index} and the folders of {folder} differ in class {unlike}")
    if folders or split == "train":
        names, labels = list_classes(root, wnids, all_classes=split == "train")
    else:
        names = picture_names(root)
        labels = _flat_labels(names, wnids, folder, val_labels)
    class_names = [named.get(wnid, wnid) for wnid in wnids]
    return PictureFiles(f"imagenet, {split}", root, names, labels, class_names)


def _read_class_index(path: Path) -> dict[str, str]:
    """Read the name of each wnid; the numbers must follow the order of the wnids."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        named = {
            entries[str(k)][0]: entries[str(k)][1].replace("_", " ") for k in range(len(entries))
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f'{path} is no class index of the form {{"0": ["n01440764", "tench"], ...}}: {error!r}'
        ) from error
    if list(named) != sorted(named) or len(named) != len(entries):
        raise ValueError(f"{path} does not number its classes in the order of their wnids")
    return named


def _flat_labels(
    names: Sequence[str], wnids: Sequence[str], folder: Path, val_labels: str | Path | None
) -> list[int]:
    path = _find_val_labels(folder) if val_labels is None else Path(val_labels)
    read = _read_solution if path.suffix == ".csv" else _read_ground_truth
    try:
        wnid_of = read(path)
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from error
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    labels = []
    for name in names:
        wnid = wnid_of.get(name.split(".")[0])
        if wnid not in label_of:
            known = f"of class {wnid}, which has no training folder" if wnid else "not listed"
            raise ValueError(f"{name} is {known} in {path}; remove the picture or give all labels")
        labels.append(label_of[wnid])
    return labels


def _find_val_labels(folder: Path) -> Path:
    for place in (folder / SOLUTION, folder / DEVKIT / GROUND_TRUTH, folder / GROUND_TRUTH):
        if place.exists():
            return place
    raise ValueError(
        f"the validation pictures of {folder} lie flat, so their classes are needed: put "
        f"{SOLUTION} there, or the development kit as {DEVKIT}"
    )


def _read_solution(path: Path) -> dict[str, str]:
    """Read Kaggle's file: each row has a picture and ``wnid x y x y`` of one box or more."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has no columns ImageId and PredictionString")
        return {row["ImageId"]: (row["PredictionString"].split() or [""])[0] for row in rows}


def _read_ground_truth(path: Path) -> dict[str, str]:
    """Read the kit's file: line i is the number of the class of validation picture i."""
    lines = path.read_text().split()
    if not all(re.fullmatch(r"\d+", line) for line in lines):
        raise ValueError(f"{path} must hold one class number a line")
    meta = path.with_name("meta.mat")
    synsets = loadmat(meta, squeeze_me=True)["synsets"] if meta.exists() else None
    if synsets is None:
        raise ValueError(f"{meta} is missing: it says which class each number of {path.name} is")
    wnid_of = dict(zip(synsets["ILSVRC2012_ID"].tolist(), synsets["WNID"].tolist(), strict=True))
    return {
        f"ILSVRC2012_val_{number:08d}": wnid_of.get(int(line), "")
        for number, line in enumerate(lines, start=1)
    }
