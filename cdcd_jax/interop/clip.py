"""The names of CLIP's text tower in OpenAI's and Hugging Face's files beside ours."""

from typing import Any

import jax
import numpy as np

from cdcd_jax.interop.denoiser import StateDict
from cdcd_jax.typing import Params

OPENAI = {
    "token": ("token_embedding.weight",),
    "position": ("positional_embedding",),
    "final_norm": ("ln_final",),
    "norm1": ("transformer.resblocks.{}.ln_1",),
    "norm2": ("transformer.resblocks.{}.ln_2",),
    "qkv": ("transformer.resblocks.{}.attn.in_proj_",),
    "out": ("transformer.resblocks.{}.attn.out_proj",),
    "expand": ("transformer.resblocks.{}.mlp.c_fc",),
    "contract": ("transformer.resblocks.{}.mlp.c_proj",),
}
"""Our part -> OpenAI's name; the published checkpoints have them below ``condition_emb.``."""

HUGGING_FACE = {
    "token": ("text_model.embeddings.token_embedding.weight",),
    "position": ("text_model.embeddings.position_embedding.weight",),
    "final_norm": ("text_model.final_layer_norm",),
    "norm1": ("text_model.encoder.layers.{}.layer_norm1",),
    "norm2": ("text_model.encoder.layers.{}.layer_norm2",),
    "qkv": tuple(f"text_model.encoder.layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
    "out": ("text_model.encoder.layers.{}.self_attn.out_proj",),
    "expand": ("text_model.encoder.layers.{}.mlp.fc1",),
    "contract": ("text_model.encoder.layers.{}.mlp.fc2",),
}
"""Our part -> Hugging Face's name, or the three that ours joins."""

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}

LEFT_OUT = (
    "visual.",
    "vision_model.",
    "visual_projection.",
    "text_projection",  # the denoiser attends to what is before it
    "logit_scale",
    "text_model.embeddings.position_ids",
    "input_resolution",
    "context_length",
    "vocab_size",
)
"""What a file of the whole CLIP holds besides the text tower."""


def clip_text_from_state_dict(state: StateDict, template: Params) -> Params:
    """Arrange CLIP's arrays as the parameters of our text tower.

    Args:
        state: Arrays by OpenAI's or Hugging Face's names, of the whole CLIP or of its text tower
            alone, as ``Published.condition`` has it.
        template: What ``jax.eval_shape(clip.init, key)`` gives: the layout wanted.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays. Weights that were
        stored as float16 keep that rounding.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    names = HUGGING_FACE if HUGGING_FACE["token"][0] in state else OPENAI
    unused = {key for key in state if not key.startswith(LEFT_OUT)}

    def take(key: str) -> np.ndarray:
        if key not in state:
            raise ValueError(f"The state dict has no {key}, which the text tower needs.")
        unused.discard(key)
        return np.asarray(state[key], np.float32)

    def convert(entries: tuple[Any, ...], leaf: Any) -> np.ndarray:
        path, shape = [entry.key for entry in entries], tuple(leaf.shape)
        if path[0] == "blocks":
            keys = [_their_names(names[path[1]], path[2], index) for index in range(shape[0])]
            array = np.stack([_join([take(key) for key in block], path[2]) for block in keys])
        else:
            keys = [_their_names(names[path[0]], path[1] if len(path) > 1 else None, 0)]
            array = take(keys[0][0])
        if array.shape != shape:
            raise ValueError(
                f"{keys[0][0]} gives {'/'.join(path)} the shape {array.shape}, but the text tower "
                f"needs {shape}: check its options against the file's."
            )
        return array

    params = jax.tree_util.tree_map_with_path(convert, template)
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that the text tower has no place for, such "
            f"as {min(unused)}: check its options against the file's."
        )
    return params


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
