"""The endless stream of images that trains a codec: shuffled each epoch and resumable."""

from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Int, UInt8

from cdcd_jax.data.images.decoding import Crop, crop_image, decode_image
from cdcd_jax.data.images.sources import EncodedImage, Source
from cdcd_jax.data.pipeline import endless_order


def make_image_iterator(
    source: Source,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    crop: Crop = "random",
    flip: bool = True,
    process_index: int = 0,
    num_processes: int = 1,
    num_threads: int = 2,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Read batches of images ahead of their use, in threads.

    Every batch follows from the seed and its number alone; of each a process holds its contiguous
    rows. The iterator's state counts the batches handed out.

    Args:
        source: The images, still encoded.
        image_size: Height and width of the images.
        batch_size: Number of images in a batch, of all processes together.
        seed: Seed of order and crops, 0..2**32-1.
        crop: Which square of an image is taken, see ``crop_image``.
        flip: Whether to mirror half of the images.
        process_index: Which process this is.
        num_processes: How many share the batch.
        num_threads: Threads that decode.
        prefetch: Number of batches decoded ahead.

    Returns:
        An endless iterator of ``{"images": uint8 [batch height width 3]}``.

    Raises:
        ValueError: If there are no images or a number is out of range; later, if an image cannot
            be decoded.
    """
    if len(source) == 0:
        raise ValueError("there are no images to train on")
    if batch_size < 1 or batch_size % num_processes:
        raise ValueError(
            f"batch_size = {batch_size} must be a multiple of the {num_processes} processes"
        )
    rows = batch_size // num_processes
    local = slice(process_index * rows, (process_index + 1) * rows)

    def load(indices: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        # Seeds drawn for the whole batch, so that the split over processes changes nothing.
        seeds = rng.integers(2**63, size=len(indices))[local]
        images = [
            _decode(source[int(index)], image_size, crop, np.random.default_rng(seed), flip)
            for index, seed in zip(indices[local], seeds, strict=True)
        ]
        return {"images": np.stack(images)}

    order = endless_order(len(source), seed=seed)
    dataset = order.batch(batch_size, batch_fn=np.asarray).random_map(load)
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0
    )
    return iter(dataset.to_iter_dataset(options))


def load_images(
    source: Source, indices: Sequence[int], *, image_size: int
) -> tuple[UInt8[np.ndarray, "images size size 3"], Int[np.ndarray, " images"]]:
    """Read the central square of some images.

    Args:
        source: The images, still encoded.
        indices: Which ones.
        image_size: Height and width of the result.

    Returns:
        RGB values 0..255, and the images' labels.
    """
    found = [source[index] for index in indices]
    squares = [_decode(image, image_size) for image in found]
    return np.stack(squares), np.array([image.label for image in found])


def _decode(
    encoded: EncodedImage,
    size: int,
    crop: Crop = "center",
    rng: np.random.Generator | None = None,
    flip: bool = False,
) -> np.ndarray:
    image = decode_image(encoded.data, name=encoded.name)
    return crop_image(image, size=size, crop=crop, rng=rng, flip=flip)
