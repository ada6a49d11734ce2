"""Samples that are drawn to be looked at, a row for each request."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from cdcd_jax.editing import Original
from cdcd_jax.generator import Generator
from cdcd_jax.tasks.memory import check_needs, sample_needs
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.grid import draw_grid, label_names
from cdcd_jax.visualization.prompts import name_after_prompt
from cdcd_jax.visualization.samples import save_image, to_image

CELL_SIZE = 96
"""About how many pixels the longer side of a small image gets that was edited."""


class Drawn(NamedTuple):
    """Samples with what they are of.

    Attributes:
        tokens: [samples length].
        rows: [samples] numbers of names.
        names: What each row is called: a class or a text.
        caption: One line on how they were drawn.
    """

    tokens: Int[np.ndarray, "samples length"]
    rows: Int[np.ndarray, " samples"]
    names: tuple[str, ...]
    caption: str


def draw_rows(
    generator: Generator, seed: int, request: Any, *, num_samples: int, **options: Any
) -> Drawn:
    """Draw samples for an image, on all hosts together.

    Args:
        generator: What they are drawn from.
        seed: Seed of the samples.
        request: As for ``Generator.sample``; without one, some classes or held-out texts.
        num_samples: Number of samples, dealt out to the rows in turn.
        **options: Of ``Generator.draw``.

    Raises:
        ValueError: If so many samples exceed the memory.
    """
    check_size(generator, num_samples)
    wanted = generator.conditioning.rows(request, num_samples)
    rows = np.resize(np.arange(len(wanted.names)), num_samples)
    tokens = np.asarray(generator.draw(jax.random.key(seed), wanted.cond[rows], **options))
    return Drawn(tokens, rows, wanted.names, describe_steps(**options))


def check_size(generator: Generator, num_samples: int) -> None:
    """Raise a ValueError if so many samples exceed the memory."""
    codec = generator.codec
    size = {"vocab_size": codec.vocab_size, "length": math.prod(codec.grid)}
    check_needs(sample_needs({"num_samples": num_samples}, **size))


def describe_steps(
    *, num_steps: int, truncation: float, guidance: float = 1.0, **other: Any
) -> str:
    """Describe how samples were drawn, for the caption of an image.

    >>> describe_steps(num_steps=50, truncation=0.86, guidance=2.0, temperature=1.0)
    '50 steps, truncation 0.86, guidance 2'
    """
    guided = "" if guidance == 1.0 else f", guidance {guidance:g}"
    return f"{num_steps} steps, truncation {truncation:g}{guided}"


def save_edited_images(
    original: Original, edited: np.ndarray, names: Sequence[str], path: Path, *, caption: str
) -> None:
    """Write before, mask and after in a row for each result, and each result to a file.

    Args:
        original: What was edited.
        edited: Images [samples height width ...]; they become files in a folder beside the image.
        names: Classes or texts, which the results are of in turn.
        path: The PNG file.
        caption: One line above the image.
    """
    before = np.repeat(original.data, len(edited), axis=0)
    rows = np.stack([before, before, edited], axis=1)
    masked = np.zeros(rows.shape[:4], bool)
    masked[:, 1] = original.changed
    figure = draw_grid(
        rows,
        row_labels=label_names(np.resize(np.arange(len(names)), len(edited)), names),
        column_labels=["before", "mask", "after"],
        caption=caption,
        masked=masked,
        cell_size=CELL_SIZE,
    )
    with writing(path.parent):
        save_image(figure, path)
    with writing(path.with_suffix("")):
        for number, image in enumerate(edited):
            save_image(to_image(image), path.with_suffix("") / f"{number}.png")


def save_each(images: np.ndarray, rows: np.ndarray, names: Sequence[str], folder: Path) -> None:
    """Write each sample to a file named after its text and its place in the row."""
    with writing(folder):
        for row, name in enumerate(names):
            for column, image in enumerate(images[rows == row]):
                file = folder / f"{name_after_prompt(name)}-{column}.png"
                save_image(to_image(image), file)
