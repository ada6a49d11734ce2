"""Options of CLIP's towers from the shapes of their arrays, for both naming schemes."""

import math
from typing import Any

from cdcd_jax.interop.clip import (
    FEATURES_PER_HEAD,
    HUGGING_FACE,
    HUGGING_FACE_IMAGE,
    OPENAI,
    OPENAI_IMAGE,
)
from cdcd_jax.interop.stored import StateDict


def describe_clip_text(state: StateDict, *, embedding: bool = False) -> dict[str, Any]:
    """Infer a text tower's options from its arrays.

    Args:
        state: Arrays of the whole CLIP or of its text tower, such as ``Published.condition``.
        embedding: Whether the projection to the embedding is wanted, too.

    Returns:
        Options of ``make_clip_text``.

    Raises:
        ValueError: If it is no such tower.
    """
    theirs = HUGGING_FACE if HUGGING_FACE["token"][0] in state else OPENAI
    names = {part: theirs[part][0] for part in ("token", "position", "projection")}
    wanted = set(names.values()) if embedding else {names["token"], names["position"]}
    missing = wanted - state.keys()
    if missing:
        raise ValueError(f"The state dict holds no text tower of CLIP: it lacks {min(missing)}.")
    vocab_size, width = state[names["token"]].shape
    options = {
        "vocab_size": vocab_size,
        "length": state[names["position"]].shape[0],
        "width": width,
        "num_layers": _count_blocks(state, theirs["norm1"][0]),
        "num_heads": max(1, width // FEATURES_PER_HEAD),
    }
    if embedding:
        sides = state[names["projection"]].shape
        options["embed_dim"] = sides[0] if theirs is HUGGING_FACE else sides[-1]
    return options


def describe_clip_image(state: StateDict) -> dict[str, Any] | None:
    """Infer an image tower's options from its arrays.

    Args:
        state: Arrays of the whole CLIP or of one tower.

    Returns:
        Options of ``make_clip_image``; None if there is no image tower.

    Raises:
        ValueError: If the image tower is not a Vision Transformer, but a ResNet, or lacks an array.
    """
    if any(key.startswith("visual.layer1.") for key in state):
        raise ValueError(
            "The state dict's image tower is a ResNet (RN50 and the like); take ViT-B-32.pt."
        )
    theirs = HUGGING_FACE_IMAGE if HUGGING_FACE_IMAGE["patch"][0] in state else OPENAI_IMAGE
    names = {part: theirs[part][0] for part in ("patch", "position", "projection")}
    missing = set(names.values()) - state.keys()
    if missing == set(names.values()):
        return None
    if missing or state[names["patch"]].ndim != 4:
        raise ValueError(
            "The state dict holds no complete image tower of CLIP: "
            + (
                f"it lacks {min(missing)}."
                if missing
                else f"{names['patch']} is not a convolution."
            )
        )
    width, _, patch_size, _ = state[names["patch"]].shape
    grid = math.isqrt(max(0, state[names["position"]].shape[0] - 1))  # one more, of the class token
    sides = state[names["projection"]].shape
    return {
        "image_size": grid * patch_size,
        "patch_size": patch_size,
        "width": width,
        "num_layers": _count_blocks(state, theirs["norm1"][0]),
        "num_heads": max(1, width // FEATURES_PER_HEAD),
        "embed_dim": sides[0] if theirs is HUGGING_FACE_IMAGE else sides[-1],
    }


def _count_blocks(state: StateDict, norm: str) -> int:
    number = 0
    while f"{norm.format(number)}.weight" in state:
        number += 1
    return number
