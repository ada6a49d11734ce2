"""Editing of images from the command line: what the flags give, and the files of the results."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cdcd_jax.cli.drawing import describe, name_after_file
from cdcd_jax.conditioning.conditioning import MAX_ROWS
from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.editing import begin_at, read_mask
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.reading.regular import read_bytes
from cdcd_jax.tasks.drawing import check_size, describe_steps
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.grid import draw_grid, label_names
from cdcd_jax.visualization.samples import save_image, to_image

IMAGE_BYTES = 2**28
"""Most bytes of a file that is edited."""

CELL_SIZE = 96
"""About how many pixels the longer side of a small image gets."""


class EditRequest(NamedTuple):
    """What is edited, from the flags of the command line.

    Attributes:
        image: The image.
        mask: Which of its pixels are generated anew, [height width].
        strength: See ``Generator.edit``.
        name: What it is called in the names of files.
    """

    image: Image.Image
    mask: np.ndarray
    strength: float
    name: str


def read_edit(
    *, image: str | None, mask: str | None, box: str | None, strength: float
) -> EditRequest:
    """Read the files of the flags, and check them.

    Args:
        image: File of the image.
        mask: File of an image of the same size, black where nothing is to change.
        box: TOP,LEFT,HEIGHT,WIDTH in pixels instead.
        strength: In (0, 1].

    Raises:
        ValueError: If a file is missing or damaged, they do not fit, or a value is out of range.
    """
    if image is None:
        raise ValueError("image: --mode=edit needs what is edited; add --image=FILE")
    begin_at(strength, {}, 1)
    pixels = _read_image("image", image)
    size, masked, name = (pixels.height, pixels.width), None, name_after_file(Path(image))
    if mask is not None:
        masked = _read_image("mask", mask)
        if masked.size != pixels.size:
            raise ValueError(
                f"mask = {mask} has {masked.height} x {masked.width} pixels, and {image} "
                f"{size[0]} x {size[1]}; make them of one size"
            )
        name += f"-{name_after_file(Path(mask))}"
    if box is not None:
        masked = tuple(int(number) for number in _check_box(box).split(","))
        name += "-box" + "_".join(str(number) for number in masked)
    try:
        return EditRequest(pixels, read_mask(masked, size), strength, name)
    except ValueError as error:
        raise ValueError(f"{error}".replace("mask", "box", 1)) from error


def check_edit(generator: Generator, request: EditRequest, given: int) -> int:
    """Check what is edited against a model.

    Args:
        generator: The model.
        request: What is edited.
        given: How many classes or texts are given.

    Returns:
        Number of samples by default, one for each class or text.

    Raises:
        ValueError: If the model makes no images, or no class or text is given of too many.
    """
    conditioning = generator.conditioning
    conditioning.require_images("image")
    if not given and not 1 <= conditioning.num_classes <= MAX_ROWS:
        raise ValueError(
            f"{conditioning.flag}: this is a model of {conditioning.noun}; say what is to be "
            f"drawn, give --{conditioning.flag}"
        )
    return given or conditioning.num_classes


def write_edits(
    generator: Generator,
    workdir: Path,
    request: EditRequest,
    *,
    name: str,
    seed: int,
    prompts: Sequence[str],
    label: int | None,
    num_samples: int,
    **options: Any,
) -> None:
    """Edit an image, and write a figure of before, mask and after with a file for each result.

    All hosts edit together, and the first writes.

    Args:
        generator: The model.
        workdir: Folder of the run.
        request: What is edited.
        name: What the weights are called in the names of files.
        seed: Seed of the samples.
        prompts: Texts, or none.
        label: A class, or none.
        num_samples: Number of results.
        **options: Of ``Generator.edit``.

    Raises:
        ValueError: If so many samples exceed the memory.
        CheckpointError: If a file cannot be written.
    """
    check_size(generator, num_samples)
    conditioning, wanted = generator.conditioning, [*prompts] or label
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        original = conditioning.read_original(generator.codec, request.image, request.mask)
    for warning in caught:
        print(str(warning.message).replace("data", "image", 1))
    edited = generator.edit(
        original.data,
        original.changed,
        wanted,
        strength=request.strength,
        num_samples=num_samples,
        seed=seed,
        **options,
    )
    if not is_first_host():
        return
    sampling = {**options, "num_samples": num_samples, "label": label}
    weaker = "" if request.strength == 1 else f", strength {request.strength:g}"
    sampling["strength"] = request.strength if weaker else None
    path = workdir / "samples" / f"{name}-{request.name}-{describe(seed, prompts, **sampling)}.png"
    before = np.repeat(original.data, num_samples, axis=0)
    rows = np.stack([before, before, edited], axis=1)
    masked = np.zeros(rows.shape[:4], bool)
    masked[:, 1] = original.changed
    names = conditioning.rows(wanted, num_samples).names
    figure = draw_grid(
        rows,
        row_labels=label_names(np.resize(np.arange(len(names)), num_samples), names),
        column_labels=["before", "mask", "after"],
        caption=describe_steps(**options) + weaker,
        masked=masked,
        cell_size=CELL_SIZE,
    )
    with writing(path.parent):
        save_image(figure, path)
    print(f"Before, mask and after: {path}")
    with writing(path.with_suffix("")):
        for number, image in enumerate(edited):
            save_image(to_image(image), path.with_suffix("") / f"{number}.png")
    print(f"One by one: {path.with_suffix('')}")


def _read_image(flag: str, path: str) -> Image.Image:
    try:
        content = read_bytes(path, IMAGE_BYTES)
    except OSError as error:
        raise ValueError(f"{flag} = {path} cannot be read: {error.strerror}") from error
    return Image.fromarray(decode_image(content, name=f"{flag} = {path}"))


def _check_box(box: str) -> str:
    if not re.fullmatch(r"(-?\d{1,9},){3}-?\d{1,9}", box):
        raise ValueError(f"box = {box} must be four whole numbers, TOP,LEFT,HEIGHT,WIDTH")
    return box
