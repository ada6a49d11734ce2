"""Entries of a published checkpoint's file: ``model``, ``ema`` and the training state."""

from collections.abc import Mapping
from pathlib import Path

from cdcd_jax.interop.denoiser import UNUSED
from cdcd_jax.interop.state_dict import is_flat, read_tree, select_arrays
from cdcd_jax.interop.stored import StateDict

WEIGHTS = ("ema", "model")


def read_entries(path: Path, weights: str | None) -> dict[str, StateDict]:
    """Find the arrays of a checkpoint, of images or music, by its entries.

    Nothing but ``model`` and ``ema`` is read: not the optimizer's moments, nor epochs and settings.

    Args:
        path: The ``.pth`` file.
        weights: ``"ema"`` or ``"model"``: what must be there. None takes the average where there
            is one.

    Returns:
        The arrays of ``model`` and, if they are to be taken, of ``ema``. A file that holds the
        model's arrays and no entries is all ``model``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no such checkpoint or lacks the weights that must be
            there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if weights not in (*WEIGHTS, None):
        raise ValueError(f'weights = "{weights}" must be "ema" or "model".')
    tree = read_tree(path)
    entries = tree if isinstance(tree, Mapping) else {}
    if "model" not in entries and is_flat(tree):
        entries = {"model": entries}
    if "model" not in entries:
        have = ", ".join(sorted(key for key in entries if isinstance(key, str))) or "no entries"
        raise ValueError(
            f"{path} is not a published checkpoint: it has no entry model, but {have}."
        )
    if weights == "ema" and not entries.get("ema"):
        raise ValueError(f'{path} holds no averaged weights; take the last ones, weights="model".')
    taken = WEIGHTS if weights != "model" and entries.get("ema") else ("model",)
    return {name: select_arrays(entries, name, path) for name in taken}


def check_average(denoiser: StateDict, average: StateDict, prefix: str, path: Path) -> None:
    """Refuse averaged weights that lack arrays of the denoiser, which ``model`` would fill.

    Args:
        denoiser: All arrays of the denoiser, without the prefix.
        average: The arrays of ``ema``.
        prefix: Of the denoiser's names there.
        path: For the error message.

    Raises:
        ValueError: Naming the first array that is missing.
    """
    needed = (key for key in denoiser if not key.endswith(UNUSED))
    missing = sorted(key for key in needed if prefix + key not in average)
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the denoiser's arrays in its averaged weights, ema, "
            f"such as {prefix}{missing[0]}; save them whole, or leave ema out of the file to take "
            "the last weights."
        )
