"""Names of CLIP's two towers in OpenAI's and Hugging Face's files, and ours."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.typing import Params

FILE = "ViT-B-32.pt"
SOURCE = (
    "https://openaipublic.azureedge.net/clip/models/"
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt"
)
"""Where OpenAI publishes the file; Hugging Face's is ``openai/clip-vit-base-patch32``."""

FEATURES_PER_HEAD = 64

OPENAI_BLOCK = {
    "norm1": ("ln_1",),
    "norm2": ("ln_2",),
    "qkv": ("attn.in_proj_",),
    "out": ("attn.out_proj",),
    "expand": ("mlp.c_fc",),
    "contract": ("mlp.c_proj",),
}
HUGGING_FACE_BLOCK = {
    "norm1": ("layer_norm1",),
    "norm2": ("layer_norm2",),
    "qkv": tuple(f"self_attn.{part}_proj" for part in "qkv"),
    "out": ("self_attn.out_proj",),
    "expand": ("mlp.fc1",),
    "contract": ("mlp.fc2",),
}
"""Part of our block -> their name, or the three that ours joins."""


def _within(start: str, block: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {part: tuple(f"{start}.{{}}.{name}" for name in names) for part, names in block.items()}


OPENAI = {
    "token": ("token_embedding.weight",),
    "position": ("positional_embedding",),
    "final_norm": ("ln_final",),
    "projection": ("text_projection",),
    **_within("transformer.resblocks", OPENAI_BLOCK),
}
"""Our part -> OpenAI's name; the published checkpoints have them below ``condition_emb.``."""

HUGGING_FACE = {
    "token": ("text_model.embeddings.token_embedding.weight",),
    "position": ("text_model.embeddings.position_embedding.weight",),
    "final_norm": ("text_model.final_layer_norm",),
    "projection": ("text_projection.weight",),
    **_within("text_model.encoder.layers", HUGGING_FACE_BLOCK),
}
"""Our part -> Hugging Face's name, or the three that ours joins."""

OPENAI_IMAGE = {
    "patch": ("visual.conv1.weight",),
    "class": ("visual.class_embedding",),
    "position": ("visual.positional_embedding",),
    "pre_norm": ("visual.ln_pre",),
    "post_norm": ("visual.ln_post",),
    "projection": ("visual.proj",),
    **_within("visual.transformer.resblocks", OPENAI_BLOCK),
}
HUGGING_FACE_IMAGE = {
    "patch": ("vision_model.embeddings.patch_embedding.weight",),
    "class": ("vision_model.embeddings.class_embedding",),
    "position": ("vision_model.embeddings.position_embedding.weight",),
    "pre_norm": ("vision_model.pre_layrnorm",),  # their spelling
    "post_norm": ("vision_model.post_layernorm",),
    "projection": ("visual_projection.weight",),
    **_within("vision_model.encoder.layers", HUGGING_FACE_BLOCK),
}

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}

IMAGE_STARTS = ("visual.", "vision_model.", "visual_projection.")
TEXT_STARTS = (
    "token_embedding.",
    "positional_embedding",
    "ln_final.",
    "transformer.",
    "text_projection",
    "text_model.",
)
NO_TOWER = (
    "logit_scale",
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
    "input_resolution",
    "context_length",
    "vocab_size",
)
"""What a file of the whole CLIP holds besides the towers."""


class Tower(NamedTuple):
    """The names of a tower's arrays.

    Attributes:
        names: Our part -> their names.
        title: In error messages.
        left_out: How the names begin that are not part of it.
        turned: Bare arrays of ours that are theirs transposed.
    """

    names: Mapping[str, tuple[str, ...]]
    title: str
    left_out: tuple[str, ...]
    turned: tuple[str, ...] = ()


def clip_text_from_state_dict(state: StateDict, template: Params) -> Params:
    """Arrange CLIP's arrays as the parameters of our text tower.

    Args:
        state: Arrays by OpenAI's or Hugging Face's names, of the whole CLIP or of its text tower
            alone, as ``Published.condition`` has it.
        template: What ``jax.eval_shape(clip.init, key)`` gives: the layout wanted, with the
            projection to the embedding or without.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays. Weights that were
        stored as float16 keep that rounding.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    left_out = (*NO_TOWER, *IMAGE_STARTS)
    if "projection" not in template:
        left_out = (*left_out, "text_projection")
    if HUGGING_FACE["token"][0] in state:
        tower = Tower(HUGGING_FACE, "text tower", left_out, ("projection",))
    else:
        tower = Tower(OPENAI, "text tower", left_out)
    return _convert(state, template, tower)


def clip_image_from_state_dict(state: StateDict, template: Params) -> Params:
    """Arrange CLIP's arrays as the parameters of our image tower.

    Args:
        state: Arrays by OpenAI's or Hugging Face's names, of the whole CLIP or of its image tower.
        template: What ``jax.eval_shape(clip.init, key)`` gives: the layout wanted.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    left_out = (*NO_TOWER, *TEXT_STARTS)
    if HUGGING_FACE_IMAGE["patch"][0] in state:
        tower = Tower(HUGGING_FACE_IMAGE, "image tower", left_out, ("projection",))
    else:
        tower = Tower(OPENAI_IMAGE, "image tower", left_out)
    return _convert(state, template, tower)


def _convert(state: StateDict, template: Params, tower: Tower) -> Params:
    unused = {key for key in state if not key.startswith(tower.left_out)}

    def take(key: str) -> np.ndarray:
        if key not in state:
            raise ValueError(f"The state dict has no {key}, which the {tower.title} needs.")
        unused.discard(key)
        return read_floats(state, key)

    def convert(entries: tuple[Any, ...], leaf: Any) -> np.ndarray:
        path, shape = [entry.key for entry in entries], tuple(leaf.shape)
        if path[0] == "blocks":
            keys = [_their_names(tower.names[path[1]], path[2], i) for i in range(shape[0])]
            array = np.stack([_join([take(key) for key in block], path[2]) for block in keys])
        else:
            keys = [_their_names(tower.names[path[0]], path[1] if len(path) > 1 else None, 0)]
            array = _arrange(take(keys[0][0]), path[0], tower)
        if array.shape != shape:
            raise ValueError(
                f"{keys[0][0]} gives {'/'.join(path)} the shape {array.shape}, but the "
                f"{tower.title} needs {shape}: check its options against the file's."
            )
        return array

    params = jax.tree_util.tree_map_with_path(convert, template)
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that the {tower.title} has no place for, "
            f"such as {min(unused)}: check its options against the file's."
        )
    return params


def _arrange(array: np.ndarray, part: str, tower: Tower) -> np.ndarray:
    if part == "patch" and array.ndim == 4:  # [width 3 rows columns] -> [rows*columns*3 width]
        return array.transpose(2, 3, 1, 0).reshape(-1, len(array))
    return array.T if part in tower.turned else array


def _their_names(names: tuple[str, ...], leaf: str | None, index: int) -> list[str]:
    if leaf is None:
        return [names[0]]
    # OpenAI's joint projection is a parameter (in_proj_weight), everything else a module.
    return [
        name.format(index) + ("" if name.endswith("_") else ".") + LEAVES[leaf] for name in names
    ]


def _join(arrays: list[np.ndarray], leaf: str) -> np.ndarray:
    joined = np.concatenate(arrays)  # [out in] or [out]
    return joined.T if leaf == "kernel" else joined
