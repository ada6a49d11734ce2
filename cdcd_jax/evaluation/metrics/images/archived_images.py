"""Images of an npz archive, such as ADM's, as real images for metrics."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from cdcd_jax.evaluation.batches import even_batches, own_share
from cdcd_jax.evaluation.npz import stream_rows
from cdcd_jax.reading.arrays import read_layouts


class ArchivedImages:
    """The images of an archive in their order, without labels.

    Args:
        path: The archive.
        name: Its array, uint8 [images height width 3].
    """

    def __init__(self, path: Path, name: str):
        self._path, self._name = path, name
        self._total = read_layouts(path)[name].shape[0]

    @property
    def num_distinct(self) -> int:
        """Number of images before they repeat."""
        return self._total

    def __len__(self) -> int:
        """Count the images."""
        return self._total

    def name_of(self, place: int) -> str:
        """Name the image of an index."""
        return f"image {place} of {self._path}"

    def batches(
        self, batch_size: int, *, title: str = "reference", progress: bool = True
    ) -> Iterator[tuple[UInt8[np.ndarray, "batch height width 3"], Int[np.ndarray, " batch"]]]:
        """Read this host's share of each batch.

        Args:
            batch_size: Images at once, on all hosts together.
            title: What the progress bar says.
            progress: Whether to show one.

        Yields:
            Images, RGB values 0..255, and their places.
        """
        share = own_share(self._total, batch_size)
        rows = stream_rows(self._path, self._name, batch_size)
        numbers = even_batches(self._total, batch_size, title, progress)
        for (number, _, _), images in zip(numbers, rows, strict=True):
            own = images[share.rows]
            if len(own):
                yield own, share.of_batch(number)
