"""Parameter names of Jukebox's VQ-VAE, and ours.

Theirs counts the decoder's blocks from the bottom, ours in the order they are run; theirs keeps
convolutions as [out in size] and the lengthening ones as [in out size], ours as [size in out].
"""

from typing import Any

import jax
import numpy as np

from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.typing import Params

LEAVES = {"kernel": "weight", "bias": "bias"}
RESIDUAL = {"dilated": "1", "mixed": "3"}
"""Our name of a residual block's convolution -> its number among that block's layers."""


def jukebox_from_state_dict(state: StateDict, template: Params) -> Params:
    """Arrange a published state dict as the parameters of our Jukebox codec.

    The dance-to-music project and OpenAI's own files use the same names.

    Args:
        state: Arrays by name, such as ``read_state_dict("vqvae.pt", "model")`` gives.
        template: What ``jax.eval_shape(jukebox.init, key)`` gives: the layout wanted.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    unused = set(state)

    def convert(entries: tuple[Any, ...], leaf: Any) -> np.ndarray:
        path = _path(entries)
        name = _their_name(path, template)
        if name not in state:
            raise ValueError(
                f"The state dict has no {name}, which the codec needs: check its options against "
                "the checkpoint's."
            )
        unused.discard(name)
        array = read_floats(state, name)
        wanted = _their_shape(tuple(leaf.shape), path)
        if array.shape != wanted:
            raise ValueError(
                f"{name} has the shape {array.shape}, but the codec needs {wanted}: check its "
                "options against the checkpoint's."
            )
        return _from_their_layout(array, path)

    params = jax.tree_util.tree_map_with_path(convert, template)
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that the codec has no place for, such as "
            f"{min(unused)}: check its options against the checkpoint's."
        )
    return params


def jukebox_to_state_dict(params: Params) -> dict[str, np.ndarray]:
    """Name a Jukebox codec's parameters as the published code does.

    Args:
        params: As ``jukebox.init`` makes them.

    Returns:
        Arrays by name.
    """
    state = {}
    for entries, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = _path(entries)
        array = _to_their_layout(np.asarray(leaf), path)
        state[_their_name(path, params)] = np.ascontiguousarray(array)
    return state


def _path(entries: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(entry.key) for entry in entries)


def _their_name(path: tuple[str, ...], params: Params) -> str:
    level, side, leaf = path[0].removeprefix("level_"), path[1], path[-1]
    if side == "quantizer":
        return f"bottleneck.level_blocks.{level}.k"
    start = f"{side}s.{level}"
    if path[2] == "last":
        return f"{start}.out.{LEAVES[leaf]}"
    encodes, index, inner = side == "encoder", int(path[3]), path[4:-1]
    number = index if encodes else int(level) - index
    num_stages = len(params[path[0]][side]["blocks"][index]["stages"])
    name = _inner_name(inner, num_stages, encodes=encodes)
    return f"{start}.level_blocks.{number}.model.{name}.{LEAVES[leaf]}"


def _inner_name(path: tuple[str, ...], num_stages: int, *, encodes: bool) -> str:
    """Name a part of a block; theirs have their place in the order they are run for a name."""
    if path[0] in ("first", "last"):
        return str({"first": 0, "last": num_stages}[path[0]])
    stage, rest = int(path[1]), path[2:]
    stage += not encodes  # the decoder's first convolution comes before its stages
    resize, blocks = (0, 1) if encodes else (1, 0)
    if rest[0] == "resize":
        return f"{stage}.{resize}"
    return f"{stage}.{blocks}.model.{rest[1]}.model.{RESIDUAL[rest[2]]}"


def _from_their_layout(array: np.ndarray, path: tuple[str, ...]) -> np.ndarray:
    if path[-1] != "kernel":
        return array
    return array.transpose(2, 0, 1) if _lengthens(path) else array.transpose(2, 1, 0)


def _to_their_layout(array: np.ndarray, path: tuple[str, ...]) -> np.ndarray:
    if path[-1] != "kernel":
        return array
    return array.transpose(1, 2, 0) if _lengthens(path) else array.transpose(2, 1, 0)


def _lengthens(path: tuple[str, ...]) -> bool:
    return path[1] == "decoder" and path[-2] == "resize"


def _their_shape(shape: tuple[int, ...], path: tuple[str, ...]) -> tuple[int, ...]:
    return _to_their_layout(np.broadcast_to(np.float32(0), shape), path).shape
