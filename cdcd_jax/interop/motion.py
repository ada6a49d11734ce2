"""Parameter names of the published motion encoder and of the token that joins a dance."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cdcd_jax.interop.denoiser import Path
from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.typing import Params

MOTION = "condition_codec_motion."
GENRES = "condition_emb.genre_embed.weight"
JOIN_THREE, JOIN_TWO = "lin1", "lin2"
"""The layer that joins motion, video and genre (AIST++), and the one for motion and video."""

BLOCK_PARTS = {"dilated": "block.2", "mix": "block.4", "shortcut": "shortcut"}
LEAVES = {"kernel": "weight", "direction": "weight_v", "length": "weight_g", "bias": "bias"}


def describe_dance(state: StateDict, path: Any = "The checkpoint") -> dict[str, Any]:
    """Infer a condition's options from its arrays.

    Args:
        state: Arrays by name: those of the motion encoder with their prefix
            ``condition_codec_motion.``, of the genres and of the layer that joins them.
        path: For error messages.

    Returns:
        Options of ``dance_condition``, without ``seconds`` and ``null``.

    Raises:
        ValueError: If an array is missing that one follows from, or sizes contradict each other.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise ValueError(f"{path} has no {name}, which a model of music must have.")
        return state[name].shape

    hidden, num_features = shape(f"{MOTION}lin1.weight")
    channels, frames, _ = shape(f"{MOTION}model.0.weight")
    widths = [channels]
    # The convolution after the last stage leaves one channel.
    while (width := shape(f"{MOTION}{_enter(len(widths))}.weight")[0]) != 1:
        widths.append(width)
    out = shape(f"{MOTION}lin2.weight")[0]
    num_genres, genre_width = shape(GENRES) if GENRES in state else (0, 0)
    name = f"{JOIN_THREE if num_genres else JOIN_TWO}.weight"
    width, joined = shape(name)
    video_features = joined - out - genre_width
    if video_features < 0:
        raise ValueError(
            f"{path} has {name} for {joined} features, fewer than the {out} of a motion and the "
            f"{genre_width} of a genre."
        )
    return {
        "encoder": "reference",
        "motion": {
            "num_features": num_features,
            "frames": frames,
            "hidden": hidden,
            "channels": tuple(widths),
            "out": out,
        },
        "num_genres": num_genres,
        "genre_width": genre_width,
        "video_features": video_features or None,
        "video_steps": 1,
        "width": width,
    }


def dance_from_reference(state: StateDict, template: Params) -> Params:
    """Arrange published arrays as the parameters of our condition with the reference encoder.

    Args:
        state: Arrays by name, as :func:`describe_dance` takes them.
        template: What ``jax.eval_shape(condition.init, key)`` gives.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    join = JOIN_THREE if "genre" in template else JOIN_TWO
    num_stages = len(template["motion"]["stages"])

    def name(path: Path) -> str:
        if path[0] == "motion":
            return MOTION + _motion_name(path[1:], num_stages)
        return GENRES if path[0] == "genre" else f"{join}.{LEAVES[path[-1]]}"

    return _arrange(state, template, name)


def motion_from_reference(state: StateDict, template: Params) -> Params:
    """Arrange a published motion encoder's arrays as ours.

    Args:
        state: Arrays by name, without a prefix.
        template: What ``jax.eval_shape(encoder.init, key)`` gives.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    num_stages = len(template["stages"])
    return _arrange(state, template, lambda path: _motion_name(path, num_stages))


def motion_to_reference(params: Params) -> dict[str, np.ndarray]:
    """Name a motion encoder's parameters as the published code does.

    Args:
        params: Parameters or anything of their structure, such as gradients.

    Returns:
        Arrays by name.
    """
    state = {}
    for entries, leaf in jax.tree_util.tree_leaves_with_path(params):
        path, array = tuple(entry.key for entry in entries), np.asarray(leaf)
        if path[-1] == "length":
            array = array[:, None, None]
        elif path[-1] != "bias":
            array = array.T  # [in out] -> [out in], [size in out] -> [out in size]
        state[_motion_name(path, len(params["stages"]))] = array
    return state


def _motion_name(path: Path, num_stages: int) -> str:
    leaf = LEAVES[path[-1]]
    if path[0] in ("widen", "out"):
        return f"{'lin1' if path[0] == 'widen' else 'lin2'}.{leaf}"
    stage = num_stages if path[0] == "last" else int(path[1])
    if path[0] == "last" or path[2] == "enter":
        return f"{_enter(stage)}.{leaf}"
    return f"model.{6 * stage + 2 + int(path[3])}.{BLOCK_PARTS[path[4]]}.{leaf}"


def _enter(stage: int) -> str:
    """Name the convolution before a stage; rectifiers count, before all but the first."""
    return f"model.{6 * stage + (stage > 0)}"


def _arrange(state: StateDict, template: Params, name_of: Callable[[Path], str]) -> Params:
    unused = set(state)

    def take(path: Path, shape: tuple[int, ...]) -> np.ndarray:
        name = name_of(path)
        if name not in state:
            raise ValueError(f"The state dict has no {name}, which the motion encoder needs.")
        unused.discard(name)
        array = read_floats(state, name)
        if path[-1] == "length":
            theirs = (*shape, 1, 1)
        else:
            theirs = shape if path[-1] == "embedding" else shape[::-1]
        if array.shape != theirs:
            raise ValueError(
                f"{name} has the shape {array.shape}, but the motion encoder needs {theirs}: check "
                "its options against the checkpoint's."
            )
        if path[-1] == "length":
            return array[:, 0, 0]
        return array if path[-1] == "embedding" else array.T

    params = jax.tree_util.tree_map_with_path(
        lambda entries, leaf: take(tuple(entry.key for entry in entries), tuple(leaf.shape)),
        template,
    )
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that the motion encoder has no place for, "
            f"such as {min(unused)}: check its options against the checkpoint's."
        )
    return params
