"""Real images for metrics: evenly spaced over a source, decoded and cropped as for the codec."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.stream import load_images
from cdcd_jax.evaluation.batches import Share, even_batches, own_share
from cdcd_jax.evaluation.metrics.metric import RawExamples
from cdcd_jax.spacing import evenly_spaced


@runtime_checkable
class ImageSet(Protocol):
    """A numbered set of real images, some of which may come more than once."""

    @property
    def num_distinct(self) -> int:
        """Number of images before they repeat."""
        ...

    def __len__(self) -> int:
        """Count the images."""
        ...

    def name_of(self, place: int) -> str:
        """Name the image of an index, for messages."""
        ...

    def batches(
        self, batch_size: int, *, title: str = ..., progress: bool = ...
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Read this host's share of each batch: images [batch height width 3], 0..255."""
        ...


class RealImages:
    """Images evenly spaced over a source, so that all classes are among them.

    Args:
        source: The images, still encoded.
        image_size: Height and width they are cropped to.
        limit: At most so many, >= 1.
        numbers: The images to choose from, by their numbers in the source; their place in this
            list is then their label. All, with their own labels, if None.
        oversample: Whether to take exactly ``limit``, some of them more than once.

    Raises:
        ValueError: If a number is out of range; later, if an image cannot be decoded.
    """

    def __init__(
        self,
        source: Source,
        *,
        image_size: int,
        limit: int,
        numbers: Int[np.ndarray, " known"] | None = None,
        oversample: bool = False,
    ):
        if limit < 1 or image_size < 1:
            raise ValueError(
                f"limit and image_size must be at least 1, got {limit} and {image_size}"
            )
        self._source, self._size = source, image_size
        self._numbers = numbers
        chosen = evenly_spaced(len(source) if numbers is None else len(numbers), limit)
        self._chosen = np.resize(chosen, limit) if oversample else chosen
        self._num_distinct = len(chosen)

    @property
    def fingerprint(self) -> str:
        """Digest of the images."""
        return (
            f"{len(self)} of {self._source.name} ({self._source.fingerprint[:16]}), "
            f"{self._size} pixels"
        )

    def __len__(self) -> int:
        """Count the images."""
        return len(self._chosen)

    @property
    def num_distinct(self) -> int:
        """Number of images before they repeat."""
        return self._num_distinct

    def name_of(self, place: int) -> str:
        """Return the name in the source of the image of an index."""
        number = (
            self._chosen[place] if self._numbers is None else self._numbers[self._chosen[place]]
        )
        return f"{self._source[int(number)].name} of {self._source.name}"

    def batches(
        self,
        batch_size: int,
        *,
        title: str = "real images",
        progress: bool = True,
        everywhere: bool = False,
    ) -> Iterator[tuple[UInt8[np.ndarray, "batch size size 3"], Int[np.ndarray, " batch"]]]:
        """Read this host's share of each batch.

        Args:
            batch_size: Images at once, on all hosts together.
            title: What the progress bar says.
            progress: Whether to show one.
            everywhere: Whether each host reads all images, and so learns the same from them.

        Yields:
            Images, RGB values 0..255, and their classes.
        """
        total = len(self._chosen)
        share = (
            Share(total, batch_size, 0, batch_size) if everywhere else own_share(total, batch_size)
        )
        for number, _, _ in even_batches(total, batch_size, title, progress):
            places = self._chosen[share.of_batch(number)]
            if not len(places):
                continue
            indices = places if self._numbers is None else self._numbers[places]
            images, labels = load_images(self._source, indices.tolist(), image_size=self._size)
            yield images, labels if self._numbers is None else places


def raw_images(images: RealImages) -> RawExamples:
    """Make examples for metrics from real images, with values 0..1."""

    def batches(batch_size: int, progress: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch, labels in images.batches(batch_size, progress=progress):
            yield batch / np.float32(255), labels

    return RawExamples("real test images", "images", len(images), batches, images.name_of)
