"""Parameter names of the published denoisers, and ours.

The published code keeps each block apart (``blocks.3.attn1.query.weight``) and dense kernels as
[out in]; ours stacks the blocks on a leading axis and keeps kernels as [in out].
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.typing import Params

Path: TypeAlias = tuple[str, ...]


class Name(NamedTuple):
    """The names an array may have there, the usual one first, and how its axes are ordered."""

    names: tuple[str, ...]
    layout: Literal["as is", "kernel"] = "as is"


def _dense(theirs: tuple[str, ...]) -> dict[str, Name]:
    return {
        "kernel": Name(tuple(f"{name}.weight" for name in theirs), "kernel"),
        "bias": Name(tuple(f"{name}.bias" for name in theirs)),
    }


def _attention(ours: str, theirs: tuple[str, ...]) -> dict[str, Name]:
    return {
        f"{ours}/{part}/{leaf}": name
        for part, their_part in {
            "query": "query", "key": "key", "value": "value", "out": "proj",
        }.items()
        for leaf, name in _dense(tuple(f"{module}.{their_part}" for module in theirs)).items()
    }  # fmt: skip


def _adaptive_norm(ours: str, theirs: str) -> dict[str, Name]:
    dense = _dense((f"{theirs}.linear",))
    return {
        f"{ours}/table/embedding": Name((f"{theirs}.emb.weight",)),
        **{f"{ours}/dense/{leaf}": name for leaf, name in dense.items()},
    }


TOP_NAMES = {
    "embedding/token/embedding": Name(("content_emb.emb.weight",)),
    # The second form is a bare parameter [1 size width].
    "embedding/height/embedding": Name(("content_emb.height_emb.weight", "content_emb.height_emb")),
    "embedding/column/embedding": Name(("content_emb.width_emb.weight", "content_emb.width_emb")),
    "final_norm/scale": Name(("to_logits.0.weight",)),
    "final_norm/bias": Name(("to_logits.0.bias",)),
    "to_logits/kernel": Name(("to_logits.1.weight",), "kernel"),
    "to_logits/bias": Name(("to_logits.1.bias",)),
}
"""Our path outside the blocks -> their name."""

BLOCK_NAMES = {
    **_adaptive_norm("self_norm", "ln1"),
    **_adaptive_norm("cross_norm", "ln1_1"),
    **_adaptive_norm("mlp_norm", "ln2"),
    "mlp_norm/scale": Name(("ln2.weight",)),
    "mlp_norm/bias": Name(("ln2.bias",)),
    # "attn" where a block has no cross-attention.
    **_attention("self_attention", ("attn1", "attn")),
    **_attention("cross_attention", ("attn2",)),
    **{f"mlp/expand/{leaf}": name for leaf, name in _dense(("mlp.0", "mlp.conv1")).items()},
    **{f"mlp/contract/{leaf}": name for leaf, name in _dense(("mlp.2", "mlp.conv2")).items()},
}
"""Our path inside ``blocks`` -> their name after ``blocks.<index>.``."""

UNUSED = ("attn1.mask", "attn2.mask", "attn.mask")
"""Buffers of a block that the published code stores and never reads."""

ROOTS = ("content_emb.", "blocks.", "to_logits.")


def denoiser_from_reference(
    state: StateDict, template: Params, *, prefix: str | None = None
) -> Params:
    """Arrange a published state dict as the parameters of our denoiser.

    Args:
        state: Arrays by name; those outside the denoiser (codec, schedule, text tower) are
            ignored when the denoiser's own have a prefix.
        template: What ``jax.eval_shape(network.init, key)`` gives: the layout wanted.
        prefix: Of the denoiser's names, such as ``"transformer.transformer."``; found if None.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    prefix = find_prefix(state) if prefix is None else prefix
    unused = {key for key in state if key.startswith(prefix)} - _unused_buffers(state, prefix)

    def take(name: Name, block: str, shape: tuple[int, ...]) -> np.ndarray:
        keys = [f"{prefix}{block}{candidate}" for candidate in name.names]
        key = next((key for key in keys if key in state), None)
        if key is None:
            raise ValueError(
                f"The state dict has no {' or '.join(keys)}, which the denoiser needs."
            )
        unused.discard(key)
        array = _from_their_layout(read_floats(state, key), name, len(shape))
        if array.shape != shape:
            raise ValueError(
                f"{key} has the shape {np.shape(state[key])}, but the denoiser needs "
                f"{_their_shape(shape, name)}: check its options against the checkpoint's."
            )
        return array

    def convert(path: Path, leaf: Any) -> np.ndarray:
        shape = tuple(leaf.shape)
        if path[0] != "blocks":
            return take(TOP_NAMES["/".join(path)], "", shape)
        name = BLOCK_NAMES["/".join(path[1:])]
        stacked = np.empty(shape, np.float32)  # filled in place: the arrays may be most of the file
        for index in range(shape[0]):
            stacked[index] = take(name, f"blocks.{index}.", shape[1:])
        return stacked

    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: convert(tuple(entry.key for entry in path), leaf), template
    )
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that the denoiser has no place for, such as "
            f"{min(unused)}: check its options against the checkpoint's."
        )
    return params


def denoiser_to_reference(params: Params, *, prefix: str = "") -> dict[str, np.ndarray]:
    """Name a denoiser's parameters as the published code does.

    Where the published code has several names for an array, the one that fits the rest is taken
    (``attn`` without cross-attention, ``mlp.conv1`` for convolutions).

    Args:
        params: Parameters or anything of their structure, such as gradients.
        prefix: To put before every name.

    Returns:
        Arrays by name.
    """
    state = {}
    cross = "cross_attention" in params["blocks"]
    for entries, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = tuple(entry.key for entry in entries)
        array = np.asarray(leaf)
        if path[0] != "blocks":
            name = TOP_NAMES["/".join(path)]
            state[prefix + name.names[0]] = _to_their_layout(array, name)
            continue
        name = BLOCK_NAMES["/".join(path[1:])]
        second = (path[1] == "self_attention" and not cross) or (
            path[1] == "mlp" and params["blocks"]["mlp"]["expand"]["kernel"].ndim == 5
        )
        for index, part in enumerate(array):
            key = f"{prefix}blocks.{index}.{name.names[int(second)]}"
            state[key] = _to_their_layout(part, name)
    return state


def find_prefix(state: StateDict) -> str:
    """Return the prefix of the denoiser's names in a state dict, often ``""``.

    Raises:
        ValueError: There is no denoiser, or more than one.

    >>> find_prefix({"transformer.content_emb.emb.weight": np.zeros((3, 2))})
    'transformer.'
    """
    mark = "content_emb.emb.weight"
    found = sorted(key.removesuffix(mark) for key in state if key.endswith(mark))
    if not found:
        raise ValueError(f"The state dict holds no denoiser: none of its names ends in {mark}.")
    if len(found) > 1:
        raise ValueError(f"The state dict holds several denoisers; choose a prefix of {found}.")
    return found[0]


def _unused_buffers(state: StateDict, prefix: str) -> set[str]:
    """Return the names under the prefix that are none of the denoiser's parameters."""
    inside = tuple(prefix + root for root in ROOTS)
    masks = {key for key in state if key.startswith(inside[1]) and key.endswith(UNUSED)}
    outside = {key for key in state if not key.startswith(inside)}
    return masks | (outside if prefix else set())


def _from_their_layout(array: np.ndarray, name: Name, ndim: int) -> np.ndarray:
    if name.layout == "kernel" and array.ndim >= 2:
        # [out in] -> [in out]; [out in 3 3] -> [3 3 in out]
        return np.moveaxis(array, (1, 0), (-2, -1))
    return array[0] if array.ndim == ndim + 1 and array.shape[0] == 1 else array


def _to_their_layout(array: np.ndarray, name: Name) -> np.ndarray:
    return np.moveaxis(array, (-2, -1), (1, 0)) if name.layout == "kernel" else array


def _their_shape(shape: tuple[int, ...], name: Name) -> tuple[int, ...]:
    if name.layout == "kernel":
        return (shape[-1], shape[-2], *shape[:-2])
    return shape
