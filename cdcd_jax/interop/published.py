"""Published CDCD and VQ-Diffusion checkpoints, split into denoiser, codec and text tower.

Such a file is ``torch.save({"model": ..., "ema": ..., ...})``. ``model`` holds everything by names
such as ``transformer.transformer.blocks.0.ln1.linear.weight``; ``ema`` the running average of what
is below ``transformer.``, named without that. Each name belongs to a part below or is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cdcd_jax.interop.published_entries import check_average, read_entries
from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.interop.vqgan import CODEBOOK, MEAN_CODEBOOK, SCORED_CODEBOOK

CODEC_HALVES = ("content_codec.enc.", "content_codec.dec.")
DIFFUSION = "transformer."
DENOISER, CONDITION = "transformer.", "condition_emb."
EMPTY_TEXT = "empty_text_embed"
MUSIC = "vqvae."

CLASSES_WITH_NULL = 1001
"""Classes of ``imagenet_learnable.pth``: ImageNet's, and the null class at the end."""

LEFT_OUT = {
    "log_at": "the schedule is computed from its formula, in float64",
    "log_bt": "the schedule",
    "log_ct": "the schedule",
    "log_cumprod_at": "the schedule",
    "log_cumprod_bt": "the schedule",
    "log_cumprod_ct": "the schedule",
    "log_1_min_ct": "the schedule",
    "log_1_min_cumprod_ct": "the schedule",
    "Lt_history": "which timesteps training should draw; training starts anew",
    "Lt_count": "which timesteps training should draw; training starts anew",
}
"""Arrays of the diffusion that are not read, and why."""


class Published(NamedTuple):
    """The parts of a checkpoint; names have no prefix before the part's own.

    Attributes:
        path: The file, or the folder.
        denoiser: For ``denoiser_from_reference``, with the prefix ``""``.
        architecture: Options of ``make_denoiser`` that follow from the shapes: all but ``grid``, as
            the embedding's grid may be larger than the tokens', and, of a file, ``num_heads``.
        codec: For ``vqgan_from_state_dict``; empty where the file has none. The map to the used
            codes is never inside, see ``read_used_codes``.
        condition: The text tower's arrays by OpenAI's names; empty for classes.
        empty_text: [length width] float32, what the denoiser attends to in place of no text; None
            where the file has none, or for classes. It is learned in models made to be guided.
            A later version of the published code always has it, and then it may be noise.
        averaged: Whether the denoiser's weights are the running average.
        codec_options: Options of ``make_vqgan`` that do not follow from the arrays but from another
            file.
    """

    path: Path
    denoiser: StateDict
    architecture: dict[str, Any]
    codec: StateDict
    condition: StateDict
    empty_text: np.ndarray | None
    averaged: bool = True
    codec_options: Mapping[str, Any] = MappingProxyType({})


def read_published(
    path: str | Path,
    *,
    weights: str | None = None,
    entries: Mapping[str, StateDict] | None = None,
) -> Published:
    """Find the parts of a published checkpoint of an image model.

    Args:
        path: The ``.pth`` file.
        weights: ``"ema"`` takes the running average of the denoiser's weights, ``"model"`` the
            last ones; None the average where the file has one. The codec and the text tower never
            change in training.
        entries: What ``read_entries`` gave of the file, if it was read before.

    Returns:
        Its parts; arrays stay in the file until ``np.asarray`` or a converter reads them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no such checkpoint or one of music, lacks the weights
            that must be there, or holds an array that belongs to no part.
    """
    path = Path(path)
    entries = read_entries(path, weights) if entries is None else entries
    model = entries["model"]
    if is_music(entries):
        raise ValueError(
            f"{path} is a checkpoint of music; to sample it, give --motion=FILE and a "
            "configuration of AIST++ or TikTok."
        )
    codec = _codec(model, path)
    inside = {key: array for key, array in model.items() if not key.startswith(CODEC_HALVES)}
    stray = sorted(key for key in inside if not key.startswith(DIFFUSION))
    if stray:
        raise ValueError(f"{path} holds {stray[0]}, which belongs to no known part of a model.")
    diffusion = {key.removeprefix(DIFFUSION): array for key, array in inside.items()}
    average = entries.get("ema", {})
    diffusion |= average
    empty_text = diffusion.pop(EMPTY_TEXT, None)
    denoiser, condition = _split(diffusion, path)
    if average:
        check_average(denoiser, average, DENOISER, path)
    architecture = describe_denoiser(denoiser, path)
    empty_text = _empty_text(empty_text, architecture["cond_dim"], path)
    averaged = "ema" in entries
    return Published(path, denoiser, architecture, codec, condition, empty_text, averaged)


def is_music(entries: Mapping[str, StateDict]) -> bool:
    """Return whether the entries of a published file are a model of music, not of images."""
    return any(key.startswith(MUSIC) for key in entries["model"])


def describe_denoiser(state: StateDict, path: str | Path = "The checkpoint") -> dict[str, Any]:
    """Infer a denoiser's options from its arrays.

    Args:
        state: Arrays by name, without a prefix.
        path: For error messages.

    Returns:
        Options of ``make_denoiser``, without ``grid`` and ``num_heads``.

    Raises:
        ValueError: If an array is missing that one follows from.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise ValueError(f"{path} has no {name}, which a denoiser must have.")
        return state[name].shape

    vocab_size, width = shape("to_logits.1.weight")
    options: dict[str, Any] = {
        "vocab_size": vocab_size,
        "num_steps": shape("blocks.0.ln1.emb.weight")[0],
        "num_layers": len({key.split(".")[1] for key in state if key.startswith("blocks.")}),
        "width": width,
        "condition": "none",
        "num_classes": None,
        "cond_dim": None,
        "embedding_grid": tuple(
            shape(f"content_emb.{side}_emb.weight")[0] for side in ("height", "width")
        ),
    }
    convolutions = "blocks.0.mlp.conv1.weight" in state
    hidden = shape("blocks.0.mlp.conv1.weight" if convolutions else "blocks.0.mlp.0.weight")[0]
    options |= {"mlp": "conv" if convolutions else "linear", "mlp_ratio": hidden // width}
    if "blocks.0.attn2.key.weight" in state:
        options |= {"condition": "cross", "cond_dim": shape("blocks.0.attn2.key.weight")[1]}
    elif "blocks.0.ln2.emb.weight" in state:
        options |= {"condition": "class", "num_classes": shape("blocks.0.ln2.emb.weight")[0]}
    return options


def find_null_class(num_classes: int) -> int | None:
    """Return the null class, by which a model of classes can be guided.

    It does not follow from the arrays. The published code draws samples with it in ImageNet's model
    of 1,001 classes, which lost its class now and then in training, and in no other.

    >>> find_null_class(1001), find_null_class(1000)
    (1000, None)
    """
    return num_classes - 1 if num_classes == CLASSES_WITH_NULL else None


def describe_vqgan(state: StateDict, *, image_size: int = 256) -> dict[str, Any]:
    """Infer a codec's options from its arrays.

    Args:
        state: Arrays by taming-transformers' names.
        image_size: Of the images it was trained on, which does not follow from the arrays.

    Returns:
        Options of ``make_vqgan``.

    Raises:
        ValueError: If it is no such codec.
    """

    def count(pattern: str) -> int:
        number = 0
        while f"{pattern.format(number)}.weight" in state:
            number += 1
        return number

    scored = SCORED_CODEBOOK in state
    names = (SCORED_CODEBOOK,) if scored else (CODEBOOK, MEAN_CODEBOOK)
    codebook = next((state[name] for name in names if name in state), None)
    num_levels = count("encoder.down.{}.block.0.conv1")
    if codebook is None or not num_levels or "quant_conv.weight" not in state:
        raise ValueError(
            "The state dict holds no VQGAN of taming-transformers: it lacks quantize.embedding, "
            "encoder.down or quant_conv."
        )
    channels = state["encoder.conv_in.weight"].shape[0]
    widths = [
        state[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(num_levels)
    ]
    return {
        "image_size": image_size,
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "num_res_blocks": count("encoder.down.0.block.{}.conv1"),
        "attention_resolutions": tuple(
            image_size >> level
            for level in range(num_levels)
            if f"encoder.down.{level}.attn.0.q.weight" in state
        ),
        "latent_dim": state["encoder.conv_out.weight"].shape[0],
        "code_dim": state["quant_conv.weight"].shape[0],
        "num_codes": codebook.shape[0],
        "quantizer": "gumbel" if scored else "vq",
    }


def _codec(model: StateDict, path: Path) -> StateDict:
    """Join the two halves, each of which has a copy of the codebook."""
    halves = [
        {key.removeprefix(prefix): array for key, array in model.items() if key.startswith(prefix)}
        for prefix in CODEC_HALVES
    ]
    for key in sorted(halves[0].keys() & halves[1].keys()):
        if not np.array_equal(halves[0][key], halves[1][key], equal_nan=True):
            raise ValueError(f"{path} has two different {key}, in the codec's encoder and decoder.")
    return halves[0] | halves[1]


def _empty_text(array: Any, dim: int | None, path: Path) -> np.ndarray | None:
    if array is None or dim is None:
        return None
    if array.ndim != 2 or array.shape[1] != dim:
        raise ValueError(
            f"{path} holds {EMPTY_TEXT} of shape {array.shape}, but the denoiser attends to tokens "
            f"of {dim} features."
        )
    return read_floats({EMPTY_TEXT: array}, EMPTY_TEXT)


def _split(diffusion: StateDict, path: Path) -> tuple[StateDict, StateDict]:
    denoiser, condition = {}, {}
    for key, array in diffusion.items():
        if key.startswith(DENOISER):
            denoiser[key.removeprefix(DENOISER)] = array
        elif key.startswith(CONDITION):
            condition[key.removeprefix(CONDITION)] = array
        elif key not in LEFT_OUT:
            raise ValueError(
                f"{path} holds {DIFFUSION}{key}, which belongs to no known part of an image model."
            )
    return denoiser, condition
