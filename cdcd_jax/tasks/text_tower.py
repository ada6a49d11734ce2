"""The file of CLIP's text tower, as a published checkpoint contains it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import flatten, read_options, unflatten, write_arrays
from cdcd_jax.conditioning.clip_text import ClipTextOptions, make_clip_text
from cdcd_jax.reading.safetensors_head import map_arrays, read_safetensors_head
from cdcd_jax.typing import Params

EMPTY_TEXT = "empty_text"
"""An array that files of earlier versions have besides; it is not read."""


class TextTower(NamedTuple):
    """A frozen text tower.

    Attributes:
        options: For ``make_clip_text(**vars(options))``.
        params: Float32 NumPy arrays.
    """

    options: ClipTextOptions
    params: Params


def save_text_tower(path: Path, params: Params, options: dict[str, Any]) -> None:
    """Write a tower to a ``.safetensors`` file, atomically.

    Raises:
        OSError: The file cannot be written.
    """
    write_arrays(path, flatten(params), {"options": json.dumps(options)})


def is_text_tower(path: str | Path) -> bool:
    """Return whether a file was written by ``save_text_tower`` and is not CLIP's own."""
    try:
        head, _ = read_safetensors_head(Path(path))
    except (ValueError, OSError):
        return False
    return "options" in head.get("__metadata__", {})


def load_text_tower(path: Path) -> TextTower:
    """Read what ``save_text_tower`` wrote.

    Raises:
        ValueError: The file is damaged, or its arrays do not fit its options.
        OSError: The file cannot be read.
    """
    mapped, metadata = map_arrays(path)
    options = ClipTextOptions(**read_options(metadata["options"], path))
    arrays = {name: np.array(array) for name, array in mapped.items() if name != EMPTY_TEXT}
    template = jax.eval_shape(make_clip_text(**vars(options)).init, jax.random.key(0))
    return TextTower(options, unflatten(arrays, template, path))
