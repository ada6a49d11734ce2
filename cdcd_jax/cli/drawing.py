"""Images of samples, drawn by a generator and written to disk."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cdcd_jax.cli.music_grid import draw_music
from cdcd_jax.cli.prompts import check_lengths
from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.evaluation.metrics.images.real_images import evenly_spaced
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.tasks.memory import check_needs, sample_needs
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization import samples as figures
from cdcd_jax.visualization.animation import draw_frames, save_gif
from cdcd_jax.visualization.prompts import draw_prompts, name_after_prompt

MAX_ROWS = 16
"""Most classes or texts in an image of samples."""


class Rows(NamedTuple):
    """The rows of an image of samples.

    Attributes:
        names: What each row is called: a class or a text.
        cond: [rows ...] conditions, for ``Generator.draw``.
    """

    names: tuple[str, ...]
    cond: Any


def check_request(
    generator: Generator,
    *,
    prompts: Sequence[str] = (),
    label: int | None = None,
    num_samples: int,
    **sampling: Any,
) -> None:
    """Check the samples requested on the command line.

    Raises:
        ValueError: If a value is out of its range, or the model does not use it.
    """
    conditioning = generator.conditioning
    if conditioning.dance is not None and label is not None:
        raise ValueError(f"label = {label}: this is a model of dances; give --motion instead")
    generator.check(num_samples=num_samples, label=label, **sampling)
    if not prompts:
        if conditioning.texts is not None and not conditioning.test_texts:
            raise ValueError('prompt: this is a model of texts; give --prompt="..."')
        return
    if conditioning.dance is not None:
        raise ValueError("prompt: this is a model of dances; give --motion instead")
    if conditioning.texts is None:
        raise ValueError("prompt: this is a model of classes; give --label instead")
    check_lengths(prompts, conditioning.texts.count(prompts), conditioning.texts.length)
    if num_samples < len(prompts):
        raise ValueError(
            f"num_samples = {num_samples} must be at least {len(prompts)}, one for each prompt"
        )


def draw(
    generator: Generator,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    label: int | None = None,
    prompts: Sequence[str] = (),
    one_by_one: bool = False,
    dances: tuple[Segments, MusicExamples] | None = None,
    **options: Any,
) -> Path:
    """Draw samples and write their image, a row for each class, text or dance.

    All hosts draw together, and the first writes. Music can be listened to as well: WAV files lie
    in a folder beside the image. Of more than
    ``MAX_ROWS`` classes so many are drawn, evenly spaced; so are the held-out captions where no
    texts are given.

    Args:
        generator: What the samples are drawn from.
        path: The PNG file.
        seed: Seed of the samples.
        num_samples: Number of samples, dealt out to the rows in turn.
        label: One class.
        prompts: The texts.
        one_by_one: Whether each sample of a text becomes a file as well, named after the text, in a
            folder beside the image.
        dances: Test dances, ``Experiment.test_dances``, for a model of dances.
        **options: Of ``generator.draw``.

    Returns:
        The path.

    Raises:
        ValueError: If so many samples exceed the memory.
    """
    codec = generator.codec
    size = {"vocab_size": codec.vocab_size, "length": math.prod(codec.grid)}
    check_needs(sample_needs({"num_samples": num_samples}, **size))
    if generator.conditioning.dance is not None:
        if dances is None:
            raise ValueError("motion: this is a model of dances; add --motion=FILE")
        steps = describe_steps(**options)
        return draw_music(
            generator, *dances, path, seed, caption=steps, num_samples=num_samples, **options
        )
    wanted = _find_rows(generator, label, prompts, num_samples)
    rows = np.resize(np.arange(len(wanted.names)), num_samples)
    tokens = np.asarray(generator.draw(jax.random.key(seed), wanted.cond[rows], **options))
    if not is_first_host():
        return path
    caption = describe_steps(**options)
    if generator.conditioning.texts is None:
        image = figures.draw_samples(
            tokens,
            rows,
            decode_fn=codec.decode,
            num_columns=num_samples,
            caption=caption,
            class_names=wanted.names,
        )
    else:
        images = np.asarray(codec.decode(tokens))
        image = draw_prompts(images, rows, wanted.names, caption=caption)
        if one_by_one:
            _save_each(images, rows, wanted.names, path.with_suffix(""))
    with writing(path.parent):
        return figures.save_image(image, path)


def draw_trajectory(
    generator: Generator,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    label: int | None = None,
    prompts: Sequence[str] = (),
    animate: bool = False,
    **options: Any,
) -> Path:
    """Draw the reverse process of a sample of each class or text, as a strip or animated.

    All hosts draw together, and the first writes.

    Args:
        generator: What the samples are drawn from.
        path: The file: PNG, or GIF if animated.
        seed: Seed of the samples.
        num_samples: At most so many rows.
        label: One class.
        prompts: The texts.
        animate: Whether to write a GIF.
        **options: Of ``generator.draw``.

    Returns:
        The path.
    """
    wanted = _find_rows(generator, label, prompts, num_samples)
    _, states = generator.draw(jax.random.key(seed), wanted.cond, return_trajectory=True, **options)
    if not is_first_host():
        return path
    drawing = {
        "decode_fn": generator.codec.decode,
        "grid": generator.codec.grid,
        "mask_id": generator.schedule.mask_id,
    }
    trajectory = np.asarray(states)
    if animate:
        frames = draw_frames(trajectory, wanted.names, **drawing)
        with writing(path.parent):
            return save_gif(frames, path)
    image = figures.draw_trajectory(
        trajectory,
        np.arange(len(wanted.names)),
        caption=f"steps done of {options['num_steps']}, truncation {options['truncation']:g}",
        class_names=wanted.names,
        **drawing,
    )
    with writing(path.parent):
        return figures.save_image(image, path)


def describe(seed: int, prompts: Sequence[str] = (), **sampling: Any) -> str:
    """Name an image after how it was drawn, so that no other overwrites it.

    >>> describe(0, num_samples=100, label=None, num_steps=50, truncation=0.86)
    'seed0-num_samples100-num_steps50-truncation0.86'
    """
    given = {name: value for name, value in sampling.items() if value is not None}
    for name, usual in {"guidance": 1.0, "sampler": "ancestral", "times": "uniform"}.items():
        if given.get(name) == usual:
            del given[name]
    words = [name_after_prompt("\n".join(prompts))] if prompts else []
    words += [given.pop(name) for name in [*given] if isinstance(given[name], str)]
    lists = {
        name: "_".join(number(each) for each in np.atleast_1d(value).tolist())
        for name, value in {"seed": seed, **given}.items()
    }
    return "-".join([*words, *(f"{name}{values}" for name, values in lists.items())])


def name_after_file(path: Path) -> str:
    """Name an output after an input, and after its folder by a digest.

    >>> name_after_file(Path("/a/jump.pkl")) == name_after_file(Path("/b/jump.pkl"))
    False
    """
    return f"{path.stem[:40]}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]}"


def number(value: int | float) -> str:
    """Write a number so that no other is written like it.

    >>> [number(value) for value in (4294967297, 1.0, 0.86, 0.8600000001)]
    ['4294967297', '1', '0.86', '0.8600000001']
    """
    short = f"{value:g}"
    return short if float(short) == value else f"{value}"


def _find_rows(
    generator: Generator, label: int | None, prompts: Sequence[str], num_samples: int
) -> Rows:
    conditioning = generator.conditioning
    if conditioning.texts is None:
        classes = evenly_spaced(conditioning.num_classes, MAX_ROWS) if label is None else [label]
        names = tuple(conditioning.class_names[row] for row in classes)
        return Rows(names, generator.encode_request([int(row) for row in classes]))
    if not prompts:
        texts = conditioning.test_texts
        prompts = [texts[row] for row in evenly_spaced(len(texts), min(num_samples, MAX_ROWS))]
    return Rows(tuple(prompts), generator.encode_request(list(prompts)))


def describe_steps(
    *, num_steps: int, truncation: float, guidance: float = 1.0, **other: Any
) -> str:
    """Describe how samples were drawn, for the caption of an image.

    >>> describe_steps(num_steps=50, truncation=0.86, guidance=2.0, temperature=1.0)
    '50 steps, truncation 0.86, guidance 2'
    """
    guided = "" if guidance == 1.0 else f", guidance {guidance:g}"
    return f"{num_steps} steps, truncation {truncation:g}{guided}"


def _save_each(images: np.ndarray, rows: np.ndarray, names: Sequence[str], folder: Path) -> None:
    """Write each sample to a file named after its text and its place in the row."""
    with writing(folder):
        for row, name in enumerate(names):
            for column, image in enumerate(images[rows == row]):
                file = folder / f"{name_after_prompt(name)}-{column}.png"
                figures.save_image(figures.to_image(image), file)
