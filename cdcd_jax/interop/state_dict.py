"""State dicts, arrays by dotted names, from any of the usual files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import ZipInfo

import numpy as np

from cdcd_jax.interop.safetensors_file import read_safetensors
from cdcd_jax.interop.stored import StateDict, Storage, StoredTensor, check_shared
from cdcd_jax.interop.tensor_pickles import stand_in_name
from cdcd_jax.interop.torch_file import read_torch
from cdcd_jax.interop.torch_legacy import is_legacy_torch, read_legacy_torch
from cdcd_jax.interop.torchscript import is_torchscript, read_torchscript
from cdcd_jax.reading.archives import (
    DAMAGE,
    WANTED_BYTES,
    Archive,
    check_unpacked,
    describe,
    open_archive,
)
from cdcd_jax.reading.arrays import ArrayLayout, find_arrays, is_npy
from cdcd_jax.reading.pickles import brief

WRAPPER = "module."
"""What (Distributed)DataParallel puts before every name."""


def read_state_dict(
    path: str | Path, entry: str | Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Read arrays by name from ``.npz``, ``.safetensors`` or, for any other suffix, a torch file.

    Nothing in the file is executed, and what is not wanted is not read.

    Args:
        path: The file.
        entry: Which dict of a torch file holds the arrays, where it holds several, such as
            ``"model"`` or ``"ema"``; ``"ema.shadow"`` is one inside another. Of several names the
            first that is there. A file that is a bare state dict has no entries and needs none.

    Returns:
        The arrays; what else the dict holds (counters, settings) is left out. A ``module.`` that
        all names begin with is stripped.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, has no such entry, or something among the arrays wanted is
            an object of a class that is not known here; the sentence names it.
    """
    arrays: dict[Any, np.ndarray] = {}
    state = open_state_dict(path, entry)
    for tensor in state.values():
        key = _same(tensor)
        arrays[key] = arrays[key] if key in arrays else np.asarray(tensor)
    return {name: arrays[_same(tensor)] for name, tensor in state.items()}


def _same(tensor: np.ndarray | StoredTensor) -> Any:
    """Return what tensors have in common that are one array, as tied weights are."""
    if isinstance(tensor, StoredTensor):
        return id(tensor.storage), tensor.offset, tensor.shape, tensor.strides
    return id(tensor)


def open_state_dict(path: str | Path, entry: str | Sequence[str] | None = None) -> StateDict:
    """Do the same, but leave the arrays in their file until ``np.asarray`` reads them.

    Converters read each array once, into the parameters it becomes, so that a file is never in
    memory beside them.

    Args:
        path: As above.
        entry: As above.

    Returns:
        Arrays, or what has their ``shape`` and ``dtype`` and becomes one by ``np.asarray``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As above.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors(path)
    if entry is None and is_torchscript(path):
        state = read_torchscript(path)
    else:
        state = select_arrays(read_tree(path), entry, path)
    check_shared((t for t in state.values() if isinstance(t, StoredTensor)), path)
    return state


def read_tree(path: Path) -> Any:
    """Read a torch file of either age as plain containers, its tensors still unread."""
    return read_legacy_torch(path) if is_legacy_torch(path) else read_torch(path)


def select_arrays(tree: Any, entry: str | Sequence[str] | None, path: Path) -> StateDict:
    """Select the arrays of one entry; see ``read_state_dict``."""
    choices = [entry] if isinstance(entry, str) else list(entry or ())
    chosen = tree
    found = [inner for inner in (_descend(tree, name) for name in choices) if inner is not None]
    if found:
        chosen = found[0]
    elif choices and not is_flat(tree):
        have = _list(tree) if isinstance(tree, Mapping) else "no entries"
        raise ValueError(f"{path} has no entry {' or '.join(map(repr, choices))}; it has {have}.")
    if stand_in_name(chosen):
        raise _unknown(chosen, path)
    chosen = chosen if isinstance(chosen, Mapping) else {}
    for key, value in chosen.items():
        if stand_in_name(value) or stand_in_name(key):
            raise _unknown(value if stand_in_name(value) else key, path)
    arrays = {key: value for key, value in chosen.items() if isinstance(value, StoredTensor)}
    if not arrays:
        inner = [key for key, value in chosen.items() if isinstance(value, Mapping)]
        hint = f"; choose an entry of {_list(inner)}" if inner else ""
        where = f" in {' or '.join(map(repr, choices))}" if choices else ""
        raise ValueError(f"{path} holds no arrays by name{where}{hint}.")
    unnamed = [key for key in arrays if not isinstance(key, str)]
    if unnamed:
        raise ValueError(
            f"{path} holds an array by {brief(unnamed[0])}, which is not a name; save the state "
            "dict, "
            "whose arrays have names."
        )
    return strip_wrapper(arrays)


def strip_wrapper(state: StateDict) -> StateDict:
    """Strip a ``module.`` from names that all begin with it, as often as they do.

    >>> list(strip_wrapper({"module.a": np.zeros(1), "module.b": np.zeros(1)}))
    ['a', 'b']
    """
    while state and all(key.startswith(WRAPPER) for key in state):
        state = {key.removeprefix(WRAPPER): array for key, array in state.items()}
    return state


def strip_prefix(state: StateDict, mark: str) -> StateDict:
    """Strip the prefix of a name that must exist, if all names have this prefix.

    >>> list(strip_prefix({"net.conv.weight": np.zeros(1), "net.b": np.zeros(1)}, "conv.weight"))
    ['conv.weight', 'b']
    """
    for key in state:
        prefix = key.removesuffix(mark)
        if key.endswith(f".{mark}") and all(other.startswith(prefix) for other in state):
            return {other.removeprefix(prefix): array for other, array in state.items()}
    return state


def is_flat(tree: Any) -> bool:
    """Return whether a file is a bare state dict."""
    return isinstance(tree, Mapping) and any(isinstance(x, StoredTensor) for x in tree.values())


def _descend(tree: Any, entry: str) -> Any:
    for name in entry.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


def _list(keys: Iterable[Any]) -> str:
    """List the first keys of a pickle's dict."""
    first = [*islice(keys, 21)]
    words = [stand_in_name(k) or (k[:80] if isinstance(k, str) else brief(k)) for k in first]
    return ", ".join([*words[:20], *(["..."] if len(first) > 20 else [])])


def _unknown(value: Any, path: Path) -> ValueError:
    return ValueError(
        f"{path} imports {stand_in_name(value)}, which is neither a tensor nor a plain "
        "container, so it is not read; save the state dict alone."
    )


def _read_npz(path: Path) -> StateDict:
    try:
        if is_npy(path):
            raise ValueError("it is one array without a name, as .npy files are")
        archive = open_archive(path, whole=False)  # the arrays are read from it later
        arrays = find_arrays(archive)
        check_unpacked(archive, [info for info, _, _ in arrays.values()], WANTED_BYTES)
        return {name: _member(archive, path, name, *found) for name, found in arrays.items()}
    except DAMAGE as error:
        raise ValueError(
            f"{path} is not a complete .npz file of arrays: {describe(error)}."
        ) from error


def _member(
    archive: Archive, path: Path, name: str, info: ZipInfo, layout: ArrayLayout, start: int
) -> StoredTensor:
    """Describe an array of an archive."""

    def open_at(byte: int) -> Any:
        file = archive.open(info)
        file.seek(start + byte)
        return file

    shape, dtype, by_rows = layout
    size, num_bytes = math.prod(shape), info.file_size - start
    storage = Storage(path, name, dtype, size, num_bytes, open_at)
    axes = range(len(shape))
    strides = [math.prod(shape[axis + 1 :] if by_rows else shape[:axis]) for axis in axes]
    return StoredTensor(storage, 0, shape, tuple(strides))
