"""Any images with captions: a file that lists them, or a text file beside each image.

``<split>.jsonl`` has a line for each image, ``{"image": "a/b.jpg", "captions": ["...", "..."]}``
or ``{"image": ..., "caption": "..."}``, with the path relative to the folder. ``"group"``, a text
or a number, may say which images show the same: they are never each other's negatives. Without
such a file an image ``a.jpg`` is described by ``a.txt`` beside it, a caption in each line, in a
folder for each split or, with the one split "train", in one folder.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.caption_files import (
    CaptionedImages,
    check_caption,
    find_repeated,
    read_caption_lines,
    read_json_lines,
)
from cdcd_jax.data.images.sources import (
    SPLITS,
    SUFFIXES,
    ImageFiles,
    is_clutter,
    leaves_folder,
    sub_folders,
)


def load_captions(folder: str | Path, split: str = "train") -> CaptionedImages:
    """List the images of a split with their captions.

    Args:
        folder: Holds ``<split>.jsonl``, or images and texts, or a folder of them for each split.
        split: Which split: ``"train"``, or the name of a file or folder.

    Returns:
        The images in the order of the list or of their paths, without classes: a label is the
        number of the group or, without groups, of the image.

    Raises:
        ValueError: If the split or an image is missing, an image is named twice, or a caption is
            missing, empty or no text; the sentence names file and line.
    """
    folder = Path(folder)
    path = folder / f"{split}.jsonl"
    if path.exists():
        return _load_list(path, split)
    folders = sub_folders(folder)
    splits = [name for name in folders if name in SPLITS]
    lists = [found for found in folder.glob("*.jsonl") if not is_clutter(found.name)]
    if listed := sorted(found.stem for found in lists):
        raise ValueError(f'{folder} has no split "{split}", only {listed}; write {split}.jsonl')
    if split not in (splits or ["train"]):
        raise ValueError(
            f'{folder} has no split "{split}", only {splits or ["train"]}: '
            f"neither {split}.jsonl nor a folder {split}"
        )
    return _load_pairs(folder / split if splits else folder, folder, split)


def _load_list(path: Path, split: str) -> CaptionedImages:
    names, captions, groups = [], [], []
    for where, row in read_json_lines(path):
        name = row.get("image")
        if not isinstance(name, str) or not name:
            raise ValueError(f'{where}: "image" must be the path of an image, not {name!r:.60}')
        if leaves_folder(name):
            raise ValueError(
                f"{where}: {name:.200} is not inside of {path.parent}; put the image there, or a "
                "link to its folder"
            )
        names.append(name)
        captions.append(_captions_of(row, where))
        groups.append(_group_of(row, where))
    root = path.parent
    if repeated := find_repeated(map(os.path.normpath, names)):
        raise ValueError(f"{path} names {repeated} twice; put all captions of an image in one line")
    if missing := [name for name in names if not (root / name).is_file()]:
        raise ValueError(
            f"{root} lacks {len(missing)} of the {len(names)} images that {path.name} names, "
            f"{missing[0]} first; paths are relative to {root}"
        )
    if not names:
        raise ValueError(f"{path} lists no images")
    numbers: dict[Any, int] = {}
    # An image without a group is one of its own: no group is a tuple.
    keys = [(k,) if group is None else group for k, group in enumerate(groups)]
    labels = [numbers.setdefault(key, len(numbers)) for key in keys]
    images = ImageFiles(f"captions {root.resolve().name}, {split}", root, names, labels, ())
    return CaptionedImages(images, captions)


def _captions_of(row: dict[str, Any], where: str) -> list[str]:
    if ("captions" in row) == ("caption" in row):
        raise ValueError(f'{where}: there must be either "captions", a list, or "caption", a text')
    captions = row["captions"] if "captions" in row else [row["caption"]]
    if not isinstance(captions, list) or not captions:
        raise ValueError(f'{where}: "captions" must be a list of texts, not {captions!r:.60}')
    return [check_caption(caption, where) for caption in captions]


def _group_of(row: dict[str, Any], where: str) -> str | int | None:
    group = row.get("group")
    if group is not None and (isinstance(group, bool) or not isinstance(group, str | int)):
        raise ValueError(f'{where}: "group" must be a text or a whole number, not {group!r:.60}')
    return group


def _load_pairs(root: Path, folder: Path, split: str) -> CaptionedImages:
    names = _find_images(root)
    if not names:
        raise ValueError(
            f"{root} holds no images ({', '.join(SUFFIXES)}); give the folder that holds "
            f"{split}.jsonl or images with texts beside them"
        )
    texts = [(root / name).with_suffix(".txt") for name in names]
    if missing := [path for path in texts if not path.is_file()]:
        raise ValueError(
            f"{len(missing)} of the {len(names)} images of {root} have no text beside them, "
            f"{missing[0].name} first; write it, a caption in each line"
        )
    if repeated := find_repeated(map(str, texts)):
        raise ValueError(f"{repeated} is beside two images; rename one of them and its text")
    captions = [read_caption_lines(path) for path in texts]
    name = f"captions {folder.resolve().name}, {split}"
    return CaptionedImages(ImageFiles(name, root, names, range(len(names)), ()), captions)


def _find_images(root: Path) -> Sequence[str]:
    """List the paths of all visible images of a folder and its sub-folders, in order."""
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_clutter(name)]
        images = [n for n in files if n.lower().endswith(SUFFIXES) and not is_clutter(n)]
        found += [(Path(place) / name).relative_to(root).as_posix() for name in images]
    return sorted(found)
