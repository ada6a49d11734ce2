"""The file of a music codec: the weights of one level, and its options."""

import json
from dataclasses import asdict
from pathlib import Path

import jax

from cdcd_jax.codecs.codec_file import (
    JUKEBOX,
    flatten,
    read_arrays,
    read_options,
    unflatten,
    write_arrays,
)
from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.codecs.jukebox_options import JukeboxOptions
from cdcd_jax.typing import Params


def save_jukebox(path: str | Path, params: Params, options: JukeboxOptions) -> None:
    """Write a codec to a ``.safetensors`` file, atomically.

    Args:
        path: Where to; missing folders are created.
        params: As ``jukebox.init`` makes them, of all levels or of some.
        options: How the codec is built.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {"format": JUKEBOX, "options": json.dumps(asdict(options))}
    write_arrays(path, flatten(params), metadata)


def load_jukebox(path: str | Path) -> tuple[Params, JukeboxOptions]:
    """Read what :func:`save_jukebox` wrote.

    Args:
        path: The file.

    Returns:
        Parameters (float32 NumPy arrays) of the levels that were saved, and options.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is not a codec of music, or its arrays do not fit its
            options.
    """
    path = Path(path)
    arrays, metadata = read_arrays(path, JUKEBOX)
    options = _read_options(metadata.get("options", "null"), path)
    template = jax.eval_shape(make_jukebox(**asdict(options)).init, jax.random.key(0))
    saved = {name.split("/")[0] for name in arrays}
    levels = {name: layout for name, layout in template.items() if name in saved}
    return unflatten(arrays, levels or template, path), options


def _read_options(text: str, path: Path) -> JukeboxOptions:
    """Read options from JSON, in which tuples are lists."""
    try:
        return JukeboxOptions(**read_options(text, path))
    except TypeError as error:
        raise ValueError(
            f"{path} was written by another version of this package: {error}."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} holds options that no codec can have: {error}.") from error
