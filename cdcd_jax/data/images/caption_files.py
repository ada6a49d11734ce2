"""Images with captions, and readers of caption files that name every error."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.sources import EncodedImage, Source
from cdcd_jax.reading.json_text import parse_json
from cdcd_jax.reading.regular import read_lines, read_text, split_lines


class CaptionedImages:
    """The images of a source with their captions.

    Args:
        images: The images.
        captions: The captions of each, in the same order.
        listed_names: Name of the image that each entry of the set's published list of negatives
            is for; by default the entries are those of the images in order.

    Attributes:
        name: What the set is called.
        class_names: Name of each class; empty where labels only number the images.
        captions: The captions of each image.
        listed_names: As given.

    Raises:
        ValueError: If an image has no captions.

    >>> from cdcd_jax.data.images.sources import ImageBytes
    >>> cat = CaptionedImages(ImageBytes("cat", [b""], [0], []), [["a cat", "an animal"]])
    >>> cat[0].captions
    ('a cat', 'an animal')
    """

    def __init__(
        self,
        images: Source,
        captions: Iterable[Sequence[str]],
        *,
        listed_names: Sequence[str] | None = None,
    ):
        self.name, self.class_names = images.name, images.class_names
        self.captions = tuple(tuple(texts) for texts in captions)
        self._images, self._listed_names = images, listed_names
        if len(self.captions) != len(images) or not all(self.captions):
            raise ValueError(f"{self.name} has images without captions")

    @property
    def fingerprint(self) -> str:
        """Digest of the images' fingerprint and all captions."""
        digest = hashlib.sha256(self._images.fingerprint.encode())
        for texts in self.captions:
            digest.update(json.dumps(texts).encode())
        return digest.hexdigest()

    @property
    def listed_names(self) -> Sequence[str]:
        """Name of the image that each entry of a published list of negatives is for."""
        if self._listed_names is not None:
            return self._listed_names
        return [self._images[index].name for index in range(len(self))]

    def __len__(self) -> int:
        """Count the images."""
        return len(self._images)

    def __getitem__(self, index: int, /) -> EncodedImage:
        """Read an image."""
        return self._images[index]._replace(captions=self.captions[index])


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file with a JSON object in each line; empty lines are skipped.

    Yields:
        For each object its position, for messages, and the object.

    Raises:
        ValueError: If the file or a line is malformed; the sentence names the line.
    """
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        way_out = "each line must be one whole object"
        row = parse_json(line, str(path), line=number, way_out=way_out)
        if not isinstance(row, dict):
            raise ValueError(f"{where}: this is not a JSON object, but {type(row).__name__}")
        yield where, row


def read_caption_lines(path: Path) -> list[str]:
    """Read a text file with a caption in each line; empty lines are skipped.

    Raises:
        ValueError: If the file is missing, not in UTF-8 or holds no caption.
    """
    lines = [line for line in map(clean_line, split_lines(read_text(path))) if line]
    if not lines:
        raise ValueError(f"{path} holds no caption; write one a line")
    return lines


def clean_line(text: str) -> str:
    """Replace each run of white space by one space, and strip both ends.

    >>> clean_line("  a  small bird ")
    'a small bird'
    """
    return " ".join(text.split())


def check_caption(caption: Any, where: str) -> str:
    """Return a caption without needless white space.

    Raises:
        ValueError: If it is not a text or empty; the sentence begins with ``where``.
    """
    if not isinstance(caption, str):
        raise ValueError(f"{where}: a caption must be a text, not {caption!r:.60}")
    text = clean_line(caption)
    if not text:
        raise ValueError(f"{where}: a caption is empty; write what the image shows")
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"{where}: a caption holds half a character, {text!r:.60}")
    return text


def find_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that occurs twice, if any does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
