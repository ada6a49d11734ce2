"""A trained model as a folder that describes itself: what ``Generator.export`` writes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.distributed.shard_batch import fetch_whole
from cdcd_jax.io import atomic_folder, check_local, is_first_host
from cdcd_jax.typing import Params

WEIGHTS, WEIGHTS_FORMAT = "weights.safetensors", "cdcd_jax weights 1"
"""The file of an exported model's weights, and what it says it is."""

FILES = ("model.json", "*.safetensors", "vocabulary-*.json", "merges.txt.gz")
"""What a model's folder holds, by patterns; anything else there is not exported."""


def export_model(name: str, folder: Path | None, params: Params, path: str | Path) -> Path:
    """Write the files of a model with its weights.

    Args:
        name: What the model was loaded from.
        folder: Where everything but the weights is; None if nowhere.
        params: The weights.
        path: A folder that is not there yet.

    Returns:
        The path.

    Raises:
        ValueError: If it already exists, or the model has no files of its own.
        OSError: If it cannot be written.
    """
    check_local(path)
    path = Path(path)
    if path.is_symlink() or path.exists():
        raise ValueError(f"{path} already exists; name another folder")
    if folder is None:
        raise ValueError(f"{name} is in memory only; load it from its run to export it")
    if folder.resolve() in path.resolve().parents:
        raise ValueError(f"{path} is in the folder of the model itself; name another folder")
    weights = flatten(fetch_whole(params))
    if is_first_host():
        with _writing_new(path), atomic_folder(path) as part:
            for file in {file for pattern in FILES for file in folder.glob(pattern)}:
                shutil.copyfile(file, part / file.name)
            write_arrays(part / WEIGHTS, weights, {"format": WEIGHTS_FORMAT})
    return path


@contextmanager
def _writing_new(path: Path) -> Iterator[None]:
    """Name the path that cannot be written, not the hidden one that it is written under."""
    try:
        yield
    except OSError as error:
        if path.exists():
            raise ValueError(f"{path} already exists; name another folder") from error
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
