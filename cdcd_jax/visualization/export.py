"""Export of samples for other evaluation code: a folder of PNG, or ADM's npz archive."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from jaxtyping import Real
from PIL import Image

from cdcd_jax.evaluation.npz import open_member
from cdcd_jax.io import atomic_folder, atomic_write
from cdcd_jax.visualization.grid import to_rgb

ARCHIVE = ".npz"
ARRAY = "arr_0"
"""Name of ADM's array of images, uint8 [images height width 3]."""

_OF_FILES = re.compile(r"\.[a-z]{1,4}")
"""Suffixes that files have, and folders hardly ever."""

AddFn = Callable[[np.ndarray], None]
"""Takes the next images [batch height width] or [batch height width 3], values 0..1."""


def check_export(path: Path) -> None:
    """Raise a ValueError if images cannot be exported to a path; nothing is written over.

    >>> check_export(Path("samples.npzz"))
    Traceback (most recent call last):
    ValueError: export = samples.npzz must be a folder, whose name needs no .npzz, or a file that
    ends in .npz
    """
    try:
        is_there = path.exists()
    except OSError as error:
        raise ValueError(f"export = {path}: {error.strerror}; name another") from error
    if is_there:
        raise ValueError(f"export = {path} already exists; name another")
    suffix = path.suffix.lower()
    if suffix != ARCHIVE and (_OF_FILES.fullmatch(suffix) or get_close_matches(suffix, [ARCHIVE])):
        raise ValueError(
            f"export = {path} must be a folder, whose name needs no {path.suffix}, or a file that "
            f"ends in {ARCHIVE}"
        )


@contextmanager
def export_images(path: Path, total: int) -> Iterator[AddFn]:
    """Write images as they come, all or none of them; memory does not grow with their number.

    Args:
        path: A file that ends in ``.npz``, or else a folder, which gets ``000000.png`` and so on.
        total: How many images there will be.

    Yields:
        ``add(images)``, to be called with all images in order.

    Raises:
        ValueError: If another number of images came.
        OSError: The disk refuses.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "samples.npz"
    >>> with export_images(path, 3) as add:
    ...     add(np.zeros((2, 8, 8, 3)))
    ...     add(np.ones((1, 8, 8, 3)))
    >>> np.load(path)["arr_0"].shape
    (3, 8, 8, 3)
    """
    write = _write_archive if path.suffix.lower() == ARCHIVE else _write_folder
    with write(path, total) as write_rows:
        done = 0

        def add(images: Real[np.ndarray, "batch height width *rgb"]) -> None:
            nonlocal done
            write_rows(to_rgb(images, coloured=images.ndim == 4), done)
            done += len(images)

        yield add
        if done != total:
            raise ValueError(f"{done} images came to be exported to {path}, not {total}")


@contextmanager
def _write_archive(path: Path, total: int) -> Iterator[Callable[[np.ndarray, int], None]]:
    with atomic_write(path) as part, ExitStack() as stack:
        # The size of the images, which the head of the array says, is that of the first.
        opened = []

        def write(rgb: np.ndarray, first: int) -> None:
            if not opened:
                shape = (total, *rgb.shape[1:])
                opened.append(stack.enter_context(open_member(part, ARRAY, shape, "|u1")))
            opened[0].write(np.ascontiguousarray(rgb).tobytes())

        yield write


@contextmanager
def _write_folder(path: Path, total: int) -> Iterator[Callable[[np.ndarray, int], None]]:
    digits = max(6, len(str(total - 1)))
    with atomic_folder(path) as part:

        def write(rgb: np.ndarray, first: int) -> None:
            for number, image in enumerate(rgb, start=first):
                Image.fromarray(image).save(part / f"{number:0{digits}d}.png")

        yield write
