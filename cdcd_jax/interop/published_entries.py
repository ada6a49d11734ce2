"""What a published checkpoint's file is made of: ``model``, ``ema`` and the state of training."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cdcd_jax.interop.torch_file import read_torch

LEFT_OUT_ENTRIES = ("last_epoch", "last_iter", "clip_grad_norm", "optimizer_and_scheduler")
"""Entries of the file that are not read: the state of its training."""


def read_entries(path: Path, weights: str) -> dict[str, dict[str, np.ndarray]]:
    """Read the arrays of a checkpoint, of pictures or music, by its entries.

    Args:
        path: The ``.pth`` file.
        weights: ``"ema"`` or ``"model"``: what must be there.

    Returns:
        The arrays of ``model`` and, for ``"ema"``, of ``ema``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no such checkpoint or lacks the weights asked for.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if weights not in ("ema", "model"):
        raise ValueError(f'weights = "{weights}" must be "ema" or "model".')
    tree = read_torch(path)
    entries = set(tree) if isinstance(tree, Mapping) else set()
    if "model" not in entries:
        raise ValueError(
            f"{path} is no published checkpoint: it has no entry model, but "
            f"{', '.join(sorted(map(str, entries))) or 'no entries'}."
        )
    unknown = sorted(entries - {"model", "ema", *LEFT_OUT_ENTRIES})
    if unknown:
        raise ValueError(f"{path} has an entry {unknown[0]} that no published checkpoint has.")
    if weights == "ema" and "ema" not in entries:
        raise ValueError(f'{path} holds no averaged weights; take the last ones, weights="model".')
    return {
        name: {key: value for key, value in tree[name].items() if isinstance(value, np.ndarray)}
        for name in {"model", weights}
    }
