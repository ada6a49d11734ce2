"""Names of taming-transformers' VQGAN and ours, and the map to the codes in use.

Theirs counts the decoder's levels from the largest maps, ours in the order they are run; theirs
keeps convolutions as [out in height width], ours as [height width in out].
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.interop.state_dict import open_state_dict, strip_prefix
from cdcd_jax.interop.stored import StateDict, StoredTensor, read_floats
from cdcd_jax.interop.torch_file import read_torch
from cdcd_jax.reading.arrays import read_npy
from cdcd_jax.typing import Params

MODULES = {
    "encoder/to_codes": "quant_conv",
    "encoder/first": "encoder.conv_in",
    "encoder/middle": "encoder.mid",
    "encoder/norm": "encoder.norm_out",
    "encoder/last": "encoder.conv_out",
    "decoder/from_codes": "post_quant_conv",
    "decoder/first": "decoder.conv_in",
    "decoder/middle": "decoder.mid",
    "decoder/norm": "decoder.norm_out",
    "decoder/last": "decoder.conv_out",
    "quantizer/scores": "quantize.proj",
}
"""Our path of a part outside the levels -> their name."""

INNER = {
    # In a level.
    "blocks": "block", "attentions": "attn",
    # In the middle.
    "block_1": "block_1", "attention": "attn_1", "block_2": "block_2",
    # In a residual block.
    "norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2",
    "shortcut": "nin_shortcut",
    # In attention.
    "norm": "norm", "query": "q", "key": "k", "value": "v", "out": "proj_out",
    # What changes the size.
    "conv": "conv",
}  # fmt: skip
"""Our name of a part further inside -> their name."""

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
CODEBOOK, SCORED_CODEBOOK = "quantize.embedding.weight", "quantize.embed.weight"
"""What the codebook is called: with nearest codes, and with scored ones."""

MEAN_CODEBOOK = "quantize.embedding"
"""What it is called where it is a running mean (ITHQ's codec)."""

IGNORED = ("loss.", "quantize.cluster_size", "quantize.embedding_avg")
"""What training needs: discriminator, perceptual network, and the sums behind a running mean."""


def vqgan_from_state_dict(state: StateDict, template: Params) -> Params:
    """Arrange a taming-transformers state dict as the parameters of our VQGAN.

    Args:
        state: Arrays by name, such as ``read_vqgan`` gives.
        template: What ``jax.eval_shape(vqgan.init, key)`` gives: the layout wanted.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    state = {CODEBOOK if key == MEAN_CODEBOOK else key: array for key, array in state.items()}
    unused = {key for key in state if not key.startswith(IGNORED)}
    num_levels = len(template["decoder"]["levels"])

    def convert(entries: tuple[Any, ...], leaf: Any) -> np.ndarray:
        path, shape = _path(entries), tuple(leaf.shape)
        names = _their_names(path, num_levels, scored="scores" in template["quantizer"])
        if names not in state:
            raise ValueError(
                f"The state dict has no {names}, which the codec needs: check its options "
                "against the checkpoint's."
            )
        unused.discard(names)
        array = _from_their_layout(read_floats(state, names), path)
        if array.shape != shape:
            raise ValueError(
                f"{names} has the shape {np.shape(state[names])}, but the codec needs "
                f"{_their_shape(shape, path)}: check its options against the checkpoint's."
            )
        return array

    params = jax.tree_util.tree_map_with_path(convert, template)
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that the codec has no place for, such as "
            f"{min(unused)}: check its options against the checkpoint's."
        )
    return params


def read_vqgan(path: str | Path) -> StateDict:
    """Find the weights of a VQGAN in a file of its own.

    Args:
        path: A Lightning checkpoint of taming-transformers (``last.ckpt``), which has them as
            ``state_dict`` among its trainer's settings; a file that has them as ``model``; or a
            bare state dict, also as ``.safetensors`` or ``.npz``.

    Returns:
        Arrays by name, for ``vqgan_from_state_dict``, still in the file. A prefix that all names
        share is stripped.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no arrays by name.
    """
    return strip_prefix(open_state_dict(path, ("state_dict", "model")), "encoder.conv_in.weight")


def vqgan_to_state_dict(params: Params) -> dict[str, np.ndarray]:
    """Name a VQGAN's parameters as taming-transformers does.

    Args:
        params: As ``vqgan.init`` makes them.

    Returns:
        Arrays by name.
    """
    num_levels, scored = len(params["decoder"]["levels"]), "scores" in params["quantizer"]
    state = {}
    for entries, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = _path(entries)
        name = _their_names(path, num_levels, scored=scored)
        state[name] = np.ascontiguousarray(_to_their_layout(np.asarray(leaf), path))
    return state


def read_used_codes(path: str | Path) -> np.ndarray:
    """Read which codes a published model uses, from its map of all codes to the used ones.

    The map gives each of the codec's codes its number among the used ones; codes that are never
    used share the number 0 with a used code, the first of those that have it.

    Args:
        path: ``taming_vqvae_2887.pt`` or the like; or the same array as ``.npy``.

    Returns:
        int32 [number of used codes]: the code of each number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no such map.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    table = read_npy(path) if path.suffix == ".npy" else read_torch(path)
    table = np.asarray(table) if isinstance(table, StoredTensor) else table
    try:
        return used_codes(table)
    except ValueError as error:
        raise ValueError(f"{path} is not a map to the used codes: {error}.") from error


def used_codes(table: Any) -> np.ndarray:
    """Turn a map of all codes to the used ones around.

    >>> used_codes(np.array([0, 2, 0, 1])).tolist()
    [0, 3, 1]
    """
    if not isinstance(table, np.ndarray) or table.ndim != 1 or table.dtype.kind not in "iu":
        raise ValueError("it must be one list of whole numbers")
    numbers, first = np.unique(table, return_index=True)
    if not np.array_equal(numbers, np.arange(len(numbers))) or len(numbers) < 2:
        raise ValueError(
            f"its numbers must be all of 0, 1, ... up to the largest, {table.max(initial=0)}"
        )
    return first.astype(np.int32)


def _path(entries: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(entry.key) for entry in entries)


def _their_names(path: tuple[str, ...], num_levels: int, *, scored: bool) -> str:
    if path == ("quantizer", "codebook"):
        return SCORED_CODEBOOK if scored else CODEBOOK
    *modules, leaf = path
    if modules[1] == "levels":
        side, index, rest = modules[0], int(modules[2]), modules[3:]
        if side == "encoder":
            start, resize = f"encoder.down.{index}", "downsample"
        else:
            start, resize = f"decoder.up.{num_levels - 1 - index}", "upsample"
        inner = {**INNER, "resize": resize}
    else:
        start, rest, inner = MODULES["/".join(modules[:2])], modules[2:], INNER
    parts = [part if part.isdigit() else inner[part] for part in rest]
    return ".".join([start, *parts, LEAVES[leaf]])


def _from_their_layout(array: np.ndarray, path: tuple[str, ...]) -> np.ndarray:
    if path[-1] != "kernel":
        return array
    if path[-2] == "scores":  # a 1x1 convolution there
        return array.reshape(array.shape[:2]).T
    if array.ndim == 2:  # a dense layer there, a 1x1 convolution here
        return array.T[None, None]
    return array.transpose(2, 3, 1, 0)


def _to_their_layout(array: np.ndarray, path: tuple[str, ...]) -> np.ndarray:
    if path[-1] != "kernel":
        return array
    if path[-2] == "scores":
        return array.T[:, :, None, None]
    return array.transpose(3, 2, 0, 1)


def _their_shape(shape: tuple[int, ...], path: tuple[str, ...]) -> tuple[int, ...]:
    return _to_their_layout(np.broadcast_to(np.float32(0), shape), path).shape
