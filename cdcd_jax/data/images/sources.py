"""Sources of encoded images with their labels, and the source of a folder with one class each.

Other sources: ``imagenet.py``, ``tfds.py``, ``grocery.py`` and ``toy/digit_images.py``; with
captions ``coco.py``, ``cub.py``, ``emoji.py``, ``toy/glyphs.py`` and ``caption_list.py``.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from cdcd_jax.reading.regular import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the files that count as images, in lower case."""

MAX_BYTES = 2**28
"""Of an encoded image; 40 megapixels of 16 bits have 240 million."""

SPLITS = ("train", "val", "validation", "test")
"""Names of sub-folders that are splits, not classes."""


class EncodedImage(NamedTuple):
    """One encoded image.

    Attributes:
        name: What it is called in its source, e.g. a path; unique there.
        label: Its class, 0..classes-1; in a set without classes the number of its group.
        data: The encoded bytes.
        captions: Texts that describe it; every image of a set has some, or none has.
    """

    name: str
    label: int
    data: bytes
    captions: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """A numbered set of labelled images."""

    @property
    def name(self) -> str:
        """What the set and its split are called."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class, in the order of the labels; empty in a set without classes."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of the images, their order, labels and captions."""
        ...

    def __len__(self) -> int:
        """Count the images."""
        ...

    def __getitem__(self, index: int, /) -> EncodedImage:
        """Read an image; threads may do so at the same time."""
        ...


class ImageFiles:
    """Images with a file of their own each.

    Args:
        name: What the set is called.
        folder: What the names are relative to.
        names: Path of each image.
        labels: Class of each image.
        class_names: Name of each class.

    Raises:
        ValueError: If there are no images, or one is not inside of the folder.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        names: Sequence[str],
        labels: Sequence[int],
        class_names: Iterable[str],
    ):
        if not names:
            raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
        if outside := next(filter(leaves_folder, names), None):
            raise ValueError(
                f"{name} names {outside:.200}, which is not inside of {folder}; a list may name "
                "images of its own folder only, so put them there, or a link to their folder"
            )
        self.name = name
        self.class_names = tuple(class_names)
        self._folder, self._names, self._labels = folder, names, labels

    @property
    def fingerprint(self) -> str:
        """Digest of names and labels; the files' contents are not read."""
        return listing_digest(self.class_names, self._names, self._labels)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._names)

    def __getitem__(self, index: int, /) -> EncodedImage:
        """Read a file.

        Raises:
            ValueError: If the file cannot be read; its content is not checked.
        """
        path = self._folder / self._names[index]
        try:
            data = read_bytes(path, MAX_BYTES)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        return EncodedImage(self._names[index], int(self._labels[index]), data)


def leaves_folder(name: str) -> bool:
    """Return whether a path lexically leaves its folder; links are followed."""
    return name.startswith("/") or (".." in name and ".." in name.split("/"))


class ImageBytes:
    """Encoded images in memory.

    Args:
        name: What the set is called.
        data: The encoded images.
        labels: Class of each image.
        class_names: Name of each class.
        names: Name of each image; by default its number.

    >>> source = ImageBytes("two", [b"first", b"second"], [1, 0], ["cat", "dog"])
    >>> len(source), source[1]
    (2, EncodedImage(name='1', label=0, data=b'second', captions=()))
    """

    def __init__(
        self,
        name: str,
        data: Sequence[bytes],
        labels: Sequence[int],
        class_names: Iterable[str],
        *,
        names: Sequence[str] | None = None,
    ):
        self.name = name
        self.class_names = tuple(class_names)
        self._data, self._labels, self._names = data, labels, names

    @property
    def fingerprint(self) -> str:
        """Digest of all images, labels and names that are not numbers."""
        contents = [hashlib.sha256(data).hexdigest() for data in self._data]
        if self._names is not None:
            contents = [" ".join(pair) for pair in zip(contents, self._names, strict=True)]
        return listing_digest(self.class_names, contents, self._labels)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._data)

    def __getitem__(self, index: int, /) -> EncodedImage:
        """Return an image."""
        name = str(index) if self._names is None else self._names[index]
        return EncodedImage(name, int(self._labels[index]), self._data[index])


def load_folder(folder: str | Path, split: str = "train") -> ImageFiles:
    """List a folder that has a sub-folder of images for each class, or such a folder per split.

    Layouts: ``folder/<class>/*.jpg``, which has the one split "train", or
    ``folder/<split>/<class>/*.jpg`` with splits train, val, validation or test. Classes are
    numbered in the order of their names; those of ``train`` hold for all splits, and other splits
    may lack some. What :func:`is_clutter` names and files of other kinds are skipped.

    Args:
        folder: The folder.
        split: Which split.

    Returns:
        The images, ordered by class and name.

    Raises:
        ValueError: If the folder, the split or its images are missing, a class folder is empty,
            or a split has a class that ``train`` lacks.
    """
    folder = Path(folder)
    splits = [name for name in sub_folders(folder) if name in SPLITS]
    if split not in (splits or ["train"]):
        raise ValueError(f'{folder} has no split "{split}", only {splits or ["train"]}')
    root = folder / split if splits else folder
    classes = sub_folders(folder / "train" if "train" in splits else root)
    names, labels = list_classes(root, classes, all_classes=split == "train")
    return ImageFiles(f"folder {folder.resolve().name}, {split}", root, names, labels, classes)


def sub_folders(folder: Path) -> list[str]:
    """List the names of a folder's sub-folders in order, without what :func:`is_clutter` names.

    Raises:
        ValueError: If there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; give the folder that holds the images")
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not is_clutter(p.name))


def is_clutter(name: str) -> bool:
    """Return whether a path is hidden or macOS's: ``.DS_Store``, ``._*``, ``__MACOSX``.

    >>> [is_clutter(name) for name in ("._cat.jpg", "__MACOSX", "cat.jpg")]
    [True, True, False]
    """
    return name.startswith(".") or name == "__MACOSX"


def list_classes(
    root: Path, classes: Sequence[str], *, all_classes: bool
) -> tuple[list[str], list[int]]:
    """List the images of a folder that has a sub-folder for each class.

    Args:
        root: The folder.
        classes: Names of the classes in the order of their labels.
        all_classes: Whether every class must have a folder.

    Returns:
        Path relative to ``root`` and label of each image, ordered by class and name.

    Raises:
        ValueError: If a class folder is empty or missing, or is none of the classes.
    """
    present = sub_folders(root)
    if unknown := sorted(set(present) - set(classes)):
        raise ValueError(f'{root} has a class "{unknown[0]}" that the training images lack')
    if not present:
        raise ValueError(f"{root} has no sub-folders; put each class's images in one of its own")
    names, labels = [], []
    for label, name in enumerate(classes):
        if name not in present and not all_classes:
            continue
        images = image_names(root / name) if name in present else []
        if not images:
            raise ValueError(
                f"{root / name} holds no images ({', '.join(SUFFIXES)}); every class needs some"
            )
        names += [f"{name}/{image}" for image in images]
        labels += [label] * len(images)
    return names, labels


def image_names(folder: Path) -> list[str]:
    """List the names of the images that are in a folder, in order."""
    # No Path for each: ImageNet has 1.28 million.
    names = os.listdir(folder)
    return sorted(n for n in names if n.lower().endswith(SUFFIXES) and not is_clutter(n))


def listing_digest(class_names: Iterable[str], names: Iterable[str], labels: Iterable[int]) -> str:
    """Digest what a set lists: sha256 in hexadecimal."""
    digest = hashlib.sha256()
    for text in class_names:
        digest.update(f"{text}\n".encode())
    for name, label in zip(names, labels, strict=True):
        digest.update(f"{int(label)} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
