"""The file of a codec: weights, options and the codes in use."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import save_file

from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.io import atomic_write
from cdcd_jax.reading.json_text import parse_json
from cdcd_jax.reading.safetensors_head import map_arrays
from cdcd_jax.typing import Params

FORMAT = "cdcd_jax vqgan 1"
PATCHES = "cdcd_jax patches 1"
JUKEBOX = "cdcd_jax jukebox 1"
SPECTRA = "cdcd_jax spectra 1"
"""What files of codecs say they are; the second word is the codec's name in a configuration."""

USED_CODES = "used_codes"


def save_vqgan(
    path: str | Path,
    params: Params,
    options: VQGANOptions,
    used_codes: Int[np.ndarray, " used"] | None = None,
) -> None:
    """Write a codec to a ``.safetensors`` file, atomically.

    Args:
        path: Where to; missing folders are created.
        params: As ``vqgan.init`` makes them.
        options: How the codec is built.
        used_codes: Numbers of the codes that are in use, or None for all.

    Raises:
        OSError: The file cannot be written.
    """
    arrays = flatten(params)
    if used_codes is not None:
        arrays[USED_CODES] = np.asarray(used_codes, np.int32)
    write_arrays(path, arrays, {"format": FORMAT, "options": json.dumps(asdict(options))})


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write a ``.safetensors`` file, atomically.

    Args:
        path: Where to; missing folders are created.
        arrays: By name.
        metadata: Texts by name.

    Raises:
        OSError: The file cannot be written.
    """
    with atomic_write(Path(path)) as part:
        try:
            save_file(arrays, part, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def load_vqgan(path: str | Path) -> tuple[Params, VQGANOptions, Int[np.ndarray, " used"] | None]:
    """Read what :func:`save_vqgan` wrote.

    Args:
        path: The file.

    Returns:
        Parameters (float32 NumPy arrays), options, and the codes in use or None for all.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is not a codec, or its arrays do not fit its options.
    """
    path = Path(path)
    arrays, metadata = read_arrays(path, FORMAT)
    options = _read_options(metadata.get("options", "null"), path)
    used_codes = arrays.pop(USED_CODES, None)
    template = jax.eval_shape(make_vqgan(**asdict(options)).init, jax.random.key(0))
    return unflatten(arrays, template, path), options, used_codes


def read_arrays(path: str | Path, wanted: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a codec's file that says it is of one kind.

    Args:
        path: The file.
        wanted: ``FORMAT``, ``PATCHES``, ``JUKEBOX`` or ``SPECTRA``.

    Returns:
        Arrays and texts by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is not a codec, or is one of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    arrays, metadata = map_arrays(path)
    found = metadata.get("format")
    if found not in (FORMAT, PATCHES, JUKEBOX, SPECTRA):
        raise ValueError(
            f"{path} is not a codec of this package; --mode=codec writes one, and published "
            "weights are named by codec.weights."
        )
    if found != wanted:
        theirs, ours = found.split()[1], wanted.split()[1]
        raise ValueError(
            f'{path} is a codec of the kind "{theirs}", not "{ours}"; set codec.name to that, or '
            "give another folder."
        )
    return {name: np.array(array) for name, array in arrays.items()}, metadata


def flatten(params: Params) -> dict[str, np.ndarray]:
    """Name the arrays of a nested dict by their paths.

    >>> flatten({"a": {"b": np.zeros(2)}})
    {'a/b': array([0., 0.])}
    """
    return {name: np.ascontiguousarray(leaf) for name, leaf in name_leaves(params).items()}


def name_leaves(tree: Any) -> dict[str, Any]:
    """Name the leaves of a nested dict, whatever they are, as ``flatten`` names arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten(arrays: Mapping[str, Any], template: Params, path: str | Path) -> Params:
    """Arrange arrays named by ``flatten`` as a nested dict again.

    Args:
        arrays: By name; or anything with a shape.
        template: The layout wanted, with shapes.
        path: For error messages.

    Returns:
        The nested dict.

    Raises:
        ValueError: Naming an array that is missing, unexpected or of another shape.
    """
    expected = {name: leaf.shape for name, leaf in name_leaves(template).items()}
    found = {name: array.shape for name, array in arrays.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{path} does not fit its own options: {name} has the shape {found.get(name)}, "
                f"but {expected.get(name)} is needed."
            )
    return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in expected])


def _read_options(text: str, path: Path) -> VQGANOptions:
    """Read options from JSON, in which tuples are lists."""
    try:
        return VQGANOptions(**read_options(text, path))
    except TypeError as error:
        raise ValueError(
            f"{path} was written by another version of this package: {error}."
        ) from error


def read_options(text: str, path: Path) -> dict[str, Any]:
    """Read options from JSON, in which tuples are lists.

    Raises:
        ValueError: The text is not a JSON object; the sentence names the file.
    """
    stored = parse_json(text, f"{path}, options")
    if not isinstance(stored, dict):
        raise ValueError(f"{path} was written by another version: its options are not an object.")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
