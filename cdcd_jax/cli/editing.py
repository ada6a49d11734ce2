"""Editing from the command line: what the flags give, and the files of the results."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from cdcd_jax.cli.drawing import describe, name_after_file
from cdcd_jax.conditioning.conditioning import MAX_ROWS
from cdcd_jax.data.dance.audio import SAMPLE_RATE, audio_format, load_audio
from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.editing import Original, begin_at, read_mask
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.reading.regular import read_bytes
from cdcd_jax.tasks.drawing import check_size, describe_steps
from cdcd_jax.tasks.task import Task

IMAGE_BYTES = 2**28
"""Most bytes of a file that is edited."""

TIME = r"\d{1,6}(?:\.\d*)?"
"""Seconds."""


class EditRequest(NamedTuple):
    """What is edited, from the flags of the command line.

    Attributes:
        flag: The flag that gives the data, ``"image"`` or ``"music"``.
        data: As ``Generator.edit`` takes them.
        mask: What may change, likewise.
        mask_flag: The flag that gives it.
        strength: See ``Generator.edit``.
        name: What it is called in the names of files.
    """

    flag: str
    data: Any
    mask: Any
    mask_flag: str
    strength: float
    name: str


def read_edit(
    *,
    image: str | None = None,
    mask: str | None = None,
    box: str | None = None,
    music: str | None = None,
    spans: Sequence[str] = (),
    strength: float,
) -> EditRequest:
    """Read the files of the flags, and check them.

    Args:
        image: File of the image.
        mask: File of an image of the same size, black where nothing is to change.
        box: TOP,LEFT,HEIGHT,WIDTH in pixels instead.
        music: File of the sound, where no image is edited.
        spans: START:END in seconds of what is to change in it.
        strength: In (0, 1].

    Raises:
        ValueError: If a file is missing or damaged, they do not fit, or a value is out of range.
    """
    begin_at(strength, {}, 1)
    if image is not None:
        return _read_image_edit(image, mask, box, strength)
    if music is not None:
        return _read_music_edit(music, spans, strength)
    raise ValueError(
        "image: --mode=edit needs what is edited; add --image=FILE, or --music=FILE of a model of "
        "dances"
    )


def count_edits(generator: Generator, task: Task, request: EditRequest, given: int) -> int:
    """Count the results by default, one for each class, text or dance.

    Args:
        generator: The model.
        task: What is generated from what.
        request: What is edited.
        given: How many classes, texts or dances are given.

    Raises:
        ValueError: If the model makes other data, no dance is given, or no class or text of too
            many.
    """
    conditioning = generator.conditioning
    if request.flag != task.edits:
        raise ValueError(
            f"{request.flag}: this is a model of {conditioning.noun}; give --{task.edits}=FILE "
            "instead"
        )
    if not given and not 1 <= conditioning.num_classes <= MAX_ROWS:
        raise ValueError(
            f"{conditioning.flag}: this is a model of {conditioning.noun}; say what is to be "
            f"made, give --{conditioning.flag}"
        )
    return given or conditioning.num_classes


def read_original(generator: Generator, request: EditRequest, wanted: Any) -> Original:
    """Turn what is edited into what the model takes, with a sentence where it is converted.

    Args:
        generator: The model.
        request: What is edited.
        wanted: As for ``Generator.sample``.

    Raises:
        ValueError: If the mask is not of the data.
    """
    read = generator.conditioning.read_original
    with _naming(request):
        return read(generator.codec, request.data, request.mask, wanted)


def write_edits(
    generator: Generator,
    task: Task,
    workdir: Path,
    request: EditRequest,
    original: Original,
    wanted: Any,
    *,
    name: str,
    seed: int,
    num_samples: int,
    prompts: Sequence[str] = (),
    label: int | None = None,
    **options: Any,
) -> None:
    """Edit, and write a figure of before, mask and after with a file for each result.

    All hosts edit together, and the first writes.

    Args:
        generator: The model.
        task: What is generated from what; writes the figure and the files.
        workdir: Folder of the run.
        request: What is edited.
        original: The same from ``read_original``.
        wanted: As for ``Generator.sample``.
        name: What the weights are called in the names of files.
        seed: Seed of the samples.
        num_samples: Number of results.
        prompts: Texts, for the names of files.
        label: A class, likewise.
        **options: Of ``Generator.edit``.

    Raises:
        ValueError: If so many samples exceed the memory.
        CheckpointError: If a file cannot be written.
    """
    check_size(generator, num_samples)
    edited = generator.edit(
        original,
        request=wanted,
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
    file = "-".join([name, request.name, describe(seed, prompts, **sampling)])
    path = workdir / "samples" / f"{file}.png"
    caption = describe_steps(**options) + weaker
    task.save_edited(generator, original, edited, wanted, path, caption=caption)
    print(f"Before, mask and after: {path}")
    print(f"One by one: {path.with_suffix('')}")


@contextmanager
def _naming(request: EditRequest) -> Iterator[None]:
    """Print warnings, and name the flags in them and in what is raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ValueError as error:
            named = re.sub("^mask", request.mask_flag, str(error))
            raise ValueError(re.sub("^data", request.flag, named)) from error
    for warning in caught:
        print(re.sub("^data", request.flag, str(warning.message)))


def _read_image_edit(image: str, mask: str | None, box: str | None, strength: float) -> EditRequest:
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
    request = EditRequest("image", pixels, masked, "box" if box else "mask", strength, name)
    with _naming(request):
        return request._replace(mask=read_mask(masked, size))


def _read_music_edit(music: str, spans: Sequence[str], strength: float) -> EditRequest:
    times = [_read_span(span) for given in spans for span in given.split(",")]
    request = EditRequest("music", None, times or None, "span", strength, "")
    with _naming(request):
        sound = load_audio(music)
    rate, channels = audio_format(music)
    changes = [f"{rate:,} samples per second become {SAMPLE_RATE:,}"] * (rate != SAMPLE_RATE)
    changes += [f"{channels} channels become one"] * (channels > 1)
    if changes:
        print(f"music = {music}: {', and '.join(changes)}")
    ends = "_".join(f"{start:g}_{end:g}" for start, end in times)
    name = name_after_file(Path(music)) + (f"-span{ends}" if times else "")
    return request._replace(data=sound, name=name)


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


def _read_span(span: str) -> tuple[float, float]:
    found = re.fullmatch(f"({TIME}):({TIME})", span.strip())
    if found is None:
        raise ValueError(f"span = {span} must be START:END in seconds, such as 0.5:1.5")
    return float(found[1]), float(found[2])
