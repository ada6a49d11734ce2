"""Encoding of images or music into token shards, once, instead of at every training step.

A shard holds a fixed range of images, and its bytes follow from the plan alone. Whatever was
killed, restarted or shared among hosts, the folder ends up the same, file by file.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cdcd_jax.data.images.decoding import Crop, ImageError, crop_image, decode_image, image_rng
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.shards.manifest import UNBOUND, Bond, Plan, agree_on_plan
from cdcd_jax.data.shards.prepare_options import check_crops, check_options
from cdcd_jax.data.shards.writer import Views, is_complete, publish, write_shard


class Progress(NamedTuple):
    """Progress of a preparation.

    Attributes:
        num_shards: Number of shards in all.
        num_complete: Number of shards that are complete, whichever host made them.
    """

    num_shards: int
    num_complete: int

    @property
    def finished(self) -> bool:
        """True if the folder can be trained on."""
        return self.num_complete == self.num_shards


def prepare(
    source: Source,
    encode_fn: Callable[[np.ndarray], Any],
    folder: str | Path,
    *,
    fingerprint: str,
    vocab_size: int,
    grid: tuple[int, int],
    image_size: int,
    views: int = 1,
    crop: Crop = "center",
    flip: bool = False,
    seed: int = 0,
    shard_size: int = 4096,
    batch_size: int = 64,
    process_index: int = 0,
    num_processes: int = 1,
    num_threads: int = 4,
    on_bad: str = "stop",
    bond: Bond = UNBOUND,
    progress: bool = True,
) -> Progress:
    """Encode this host's part of a source, and publish the folder when all parts are there.

    Complete shards are kept, so the same call continues where an earlier one was stopped. Host p of
    n makes shards p, p+n, ...; nobody waits, and the last to finish publishes the manifest.

    Args:
        source: The images.
        encode_fn: Turns uint8 [batch height width 3] into tokens [batch length], values 0..K-1,
            deterministically. A shard's last batch is smaller.
        folder: Where the shards are written; the same for all hosts.
        fingerprint: The codec's, which reading the shards will ask for.
        vocab_size: K, the number of different tokens.
        grid: Rows and columns of tokens; their product is the length.
        image_size: Height and width of the crops.
        views: Number of crops of each image, >= 1.
        crop: Which square of an image is taken, see ``crop_image``.
        flip: Whether to mirror random crops at random.
        seed: Seed of the random crops, >= 0.
        shard_size: Number of images in a shard, >= 1.
        batch_size: Number of crops encoded at once, >= 1.
        process_index: Which host this is.
        num_processes: Number of hosts.
        num_threads: Threads that read and decode images ahead of the encoder.
        on_bad: What to do with an image that cannot be decoded: ``"stop"``, or ``"skip"``
            it and list it in the manifest.
        bond: Which split this is, and which other one is prepared with it.
        progress: Whether to show a progress bar with the time left.

    Returns:
        How many shards of all hosts are complete.

    Raises:
        ImageError: If an image cannot be decoded and ``on_bad`` is ``"stop"``.
        ValueError: If an option is out of range, the folder was begun with other ones, a file
            cannot be read or written, or the encoder's result does not fit.
    """
    plan = plan_images(
        source,
        fingerprint=fingerprint,
        vocab_size=vocab_size,
        grid=grid,
        image_size=image_size,
        views=views,
        crop=crop,
        flip=flip,
        seed=seed,
        shard_size=shard_size,
    )
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    check_crops(views=views, crop=crop, flip=flip)
    return prepare_views(
        partial(load_crops, source, plan),
        encode_fn,
        folder,
        plan,
        batch_size=batch_size,
        process_index=process_index,
        num_processes=num_processes,
        num_threads=num_threads,
        on_bad=on_bad,
        bond=bond,
        progress=progress,
    )


def plan_images(source: Source, **options: Any) -> Plan:
    """Plan the preparation of a source of images.

    Args:
        source: The images.
        **options: Of ``prepare``, those that the shards' bytes follow from.

    Returns:
        The plan.
    """
    return Plan(
        source=source.name,
        source_fingerprint=source.fingerprint,
        num_images=len(source),
        class_names=tuple(source.class_names),
        **options,
    )


def prepare_views(
    load_views: Callable[[int], Views],
    encode_fn: Callable[[np.ndarray], Any],
    folder: str | Path,
    plan: Plan,
    *,
    batch_size: int = 64,
    process_index: int = 0,
    num_processes: int = 1,
    num_threads: int = 4,
    on_bad: str = "stop",
    bond: Bond = UNBOUND,
    unit: str = "images",
    progress: bool = True,
) -> Progress:
    """Encode this host's part of anything that has views, as ``prepare`` does images.

    Args:
        load_views: Reads number 0..num_images-1; threads call it at the same time. What is broken
            comes back with its error.
        encode_fn: Turns views [batch ...] into tokens [batch length].
        folder: Where the shards are written.
        plan: What is prepared.
        batch_size: Views encoded at once.
        process_index: Which host this is.
        num_processes: Number of hosts.
        num_threads: Threads that read ahead of the encoder.
        on_bad: ``"stop"`` or ``"skip"``.
        bond: Which split this is, and which other one is prepared with it.
        unit: What the progress bar counts.
        progress: Whether to show it.

    Returns:
        How many shards of all hosts are complete.

    Raises:
        ImageError: If something is broken and ``on_bad`` is ``"stop"``.
        ValueError: As ``prepare``.
    """
    check_options(
        views=plan.views,
        seed=plan.seed,
        shard_size=plan.shard_size,
        batch_size=batch_size,
        on_bad=on_bad,
    )
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    if plan.num_images == 0:
        raise ValueError(f"{plan.source} holds nothing to encode")
    if not 0 <= process_index < num_processes:
        raise ValueError(f"process_index must be in 0..{num_processes - 1}, got {process_index}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made: {error.strerror}") from error
    agree_on_plan(folder, plan)
    own = range(process_index, plan.num_shards, num_processes)
    pending = [shard for shard in own if not is_complete(folder / plan.shard_name(shard), plan)]
    left = [index for shard in pending for index in plan.images_of(shard)]
    total = sum(len(plan.images_of(shard)) for shard in own)
    with (
        closing(_load_ahead(load_views, left, num_threads, ahead=2 * batch_size)) as images,
        tqdm(total=total, initial=total - len(left), unit=f" {unit}", disable=not progress) as bar,
    ):
        for shard in pending:
            part = _counted(islice(images, len(plan.images_of(shard))), bar, on_bad)
            path = folder / plan.shard_name(shard)
            write_shard(path, part, plan, encode_fn, batch_size=batch_size)
    shards = [folder / plan.shard_name(shard) for shard in range(plan.num_shards)]
    result = Progress(plan.num_shards, sum(is_complete(shard, plan) for shard in shards))
    if result.finished:
        publish(folder, plan, bond)
    return result


def _load_ahead(
    load_views: Callable[[int], Views], indices: Sequence[int], num_threads: int, *, ahead: int
) -> Generator[Views, None, None]:
    """Yield the views of some images in order, while threads prepare those that follow."""
    with ThreadPoolExecutor(num_threads) as pool:
        futures: deque[Future[Views]] = deque()
        try:
            for index in indices:
                futures.append(pool.submit(load_views, index))
                if len(futures) > ahead:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()


def load_crops(source: Source, plan: Plan, index: int) -> Views:
    """Read an image and cut the crops of a plan; a broken one comes back with its error.

    Args:
        source: The images.
        plan: How they are cropped.
        index: Which image.

    Raises:
        ValueError: If its label is not a class of the source.
    """
    name, label, data, captions = source[index]
    if plan.class_names and not 0 <= label < len(plan.class_names):
        raise ValueError(
            f"{name} has label {label}, but {source.name} has {len(plan.class_names)} classes"
        )
    try:
        image = decode_image(data, name=name)
    except ImageError as error:
        return Views(index, name, label, (), error, captions)
    crops = []
    for view in range(plan.views):
        rng = image_rng(plan.seed, index, view)
        crops.append(
            crop_image(image, size=plan.image_size, crop=plan.crop, rng=rng, flip=plan.flip)
        )
    return Views(index, name, label, crops, captions=captions)


def _counted(images: Iterable[Views], bar: tqdm, on_bad: str) -> Iterator[Views]:
    """Move the bar for each image, and stop at one without crops unless it may be skipped."""
    for image in images:
        if image.error is not None and on_bad == "stop":
            if not isinstance(image.error, ImageError):
                raise image.error
            raise ImageError(
                f'{image.error}; repair the image, or skip such ones with on_bad="skip"'
            )
        yield image
        bar.update()
