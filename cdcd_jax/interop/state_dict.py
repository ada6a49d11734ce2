"""Read a state dict, arrays by their dotted names, from any of the usual files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from cdcd_jax.interop.torch_file import read_torch
from cdcd_jax.interop.torch_legacy import is_legacy_torch, read_legacy_torch
from cdcd_jax.interop.torchscript import is_torchscript, read_torchscript


def read_state_dict(path: str | Path, entry: str | None = None) -> dict[str, np.ndarray]:
    """Read arrays by name from ``.npz``, ``.safetensors`` or, for any other suffix, a torch file.

    Nothing in the file is executed.

    Args:
        path: The file.
        entry: Which dict of a torch file holds the arrays, where it holds several, such as
            ``"model"`` or ``"ema"``; ``"ema.shadow"`` is one inside another.

    Returns:
        The arrays; what else the dict holds (counters, settings) is left out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds something to execute, or has no such entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no complete safetensors file: {error}.") from error
    if entry is None and is_torchscript(path):
        return read_torchscript(path)
    tree = read_legacy_torch(path) if is_legacy_torch(path) else read_torch(path)
    return _select(tree, entry, path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no complete .npz file of arrays: {error}.") from error


def _select(tree: Any, entry: str | None, path: Path) -> dict[str, np.ndarray]:
    for name in entry.split(".") if entry else ():
        if not isinstance(tree, Mapping) or name not in tree:
            have = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else "no entries"
            raise ValueError(f"{path} has no entry {entry!r}; it has {have}.")
        tree = tree[name]
    tree = tree if isinstance(tree, Mapping) else {}
    arrays = {key: value for key, value in tree.items() if isinstance(value, np.ndarray)}
    if not arrays:
        inner = [str(key) for key, value in tree.items() if isinstance(value, Mapping)]
        hint = f"; choose an entry of {', '.join(inner)}" if inner else ""
        raise ValueError(
            f"{path} holds no arrays by name{f' in {entry!r}' if entry else ''}{hint}."
        )
    return arrays
