"""Published dance-to-music checkpoints, split into denoiser, codec and condition.

The file is like those of images (``published.py``), but the codec is in it twice, the motion
encoder has no running average, and each name belongs to a part below, too, or is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cdcd_jax.interop.motion import GENRES, JOIN_THREE, JOIN_TWO, MOTION, describe_dance
from cdcd_jax.interop.published import (
    DENOISER,
    DIFFUSION,
    MUSIC,
    describe_denoiser,
)
from cdcd_jax.interop.published import LEFT_OUT as NOT_IN_IMAGE_MODELS
from cdcd_jax.interop.published_entries import check_average, read_entries
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.interop.stored import StateDict

LEFT_OUT = NOT_IN_IMAGE_MODELS | {
    MUSIC: "the codec a second time",
    f"{JOIN_THREE}.": "TikTok's only: the layer that joins three parts, which it never calls",
}
"""Arrays of the diffusion that are not read, or what their names start with, and why."""


class PublishedMusic(NamedTuple):
    """The parts of a checkpoint.

    Attributes:
        path: The file.
        denoiser: For ``denoiser_from_reference``, with the prefix ``""``.
        architecture: Options of ``make_denoiser`` that follow from the shapes: all but
            ``num_heads``.
        codec: For ``jukebox_from_state_dict``.
        condition: For ``dance_from_reference``.
        dance: Options of ``dance_condition`` that the shapes tell: all but ``seconds`` and
            ``null``.
        averaged: Whether the denoiser's weights are the running average.
    """

    path: Path
    denoiser: StateDict
    architecture: dict[str, Any]
    codec: StateDict
    condition: StateDict
    dance: dict[str, Any]
    averaged: bool


def read_published_music(
    path: str | Path,
    *,
    weights: str | None = None,
    entries: Mapping[str, StateDict] | None = None,
) -> PublishedMusic:
    """Find the parts of a published checkpoint of a model that makes music for dances.

    Args:
        path: The ``.pth`` file.
        weights: ``"ema"`` takes the running average of the denoiser's weights, of the genres' and
            of the layer that joins the condition's parts, ``"model"`` the last ones; None the
            average where the file has one. The motion encoder and the codec have no average.
        entries: What ``read_entries`` gave of the file, if it was read before.

    Returns:
        Its parts; arrays stay in the file until ``np.asarray`` or a converter reads them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no such checkpoint or one of images, lacks the weights
            that must be there, or holds an array that belongs to no part.
    """
    path = Path(path)
    entries = read_entries(path, weights) if entries is None else entries
    codec, condition, diffusion = _split_model(entries["model"], path)
    average = entries.get("ema", {})
    diffusion |= average
    denoiser, more = _split_diffusion(diffusion, path)
    if average:
        check_average(denoiser, average, DENOISER, path)
    condition = {**condition, **more}
    architecture = describe_denoiser(denoiser, path)
    dance = describe_dance(condition, path)
    if architecture["condition"] != "cross" or architecture["cond_dim"] != dance["width"]:
        raise ValueError(
            f"{path} makes a condition of {dance['width']} features, but its denoiser attends to "
            f"{architecture['cond_dim'] or 'none'}."
        )
    architecture["grid"] = architecture.pop("embedding_grid")
    averaged = "ema" in entries
    return PublishedMusic(path, denoiser, architecture, codec, condition, dance, averaged)


def read_vqvae(path: str | Path) -> StateDict:
    """Find the weights of Jukebox's codec from a file of its own.

    Args:
        path: The published ``vqvae.pt``, a bare state dict; OpenAI's ``vqvae.pth.tar``, which has
            it as ``model``; or a checkpoint of music, which has the codec inside.

    Returns:
        Arrays by name, for ``jukebox_from_state_dict``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no such codec.
    """
    state = open_state_dict(path, "model")
    inside = {key.removeprefix(MUSIC): a for key, a in state.items() if key.startswith(MUSIC)}
    state = inside or state
    if "bottleneck.level_blocks.0.k" not in state:
        raise ValueError(f"{path} holds no codec of music: it has no bottleneck.level_blocks.0.k.")
    return state


def describe_jukebox(state: StateDict) -> dict[str, Any]:
    """Infer a codec's options from its arrays.

    Args:
        state: Arrays by Jukebox's names, without a prefix.

    Returns:
        Options of ``make_jukebox``, without ``sample_rate`` and ``dilation_growth``, which no array
        tells.

    Raises:
        ValueError: If it is no such codec.
    """

    def count(pattern: str) -> int:
        number = 0
        while pattern.format(number) in state:
            number += 1
        return number

    num_levels = count("bottleneck.level_blocks.{}.k")
    inner = [f"encoders.{level}.level_blocks.{level}.model." for level in range(num_levels)]
    first = [f"{name}0.0.weight" for name in inner]
    if not num_levels or any(name not in state for name in first):
        raise ValueError(
            "The state dict holds no codec of Jukebox: it lacks bottleneck.level_blocks or "
            "encoders."
        )
    widths = [state[name].shape[0] for name in first]
    depths = [count(f"{name}0.1.model.{{}}.model.1.weight") for name in inner]
    width = min(widths)
    multipliers = tuple(wide // width for wide in widths)
    num_codes, code_dim = state["bottleneck.level_blocks.0.k"].shape
    return {
        "downs": tuple(count(f"{name}{{}}.0.weight") for name in inner),
        "strides": tuple(state[name].shape[2] // 2 for name in first),
        "multipliers": multipliers,
        "width": width,
        "depth": min(depths),
        "code_dim": code_dim,
        "num_codes": num_codes,
    }


def _split_model(model: StateDict, path: Path) -> tuple[StateDict, StateDict, dict[str, Any]]:
    """Return what belongs to the codec, to the motion encoder and to the diffusion."""
    codec, condition, diffusion = {}, {}, {}
    parts = [part for part in (MUSIC, MOTION) if not any(key.startswith(part) for key in model)]
    if parts:
        raise ValueError(
            f"{path} is not a checkpoint of music: it lacks {parts[0]}*, as models of images do; "
            "those are sampled without a dance."
        )
    for key, array in model.items():
        if key.startswith(MUSIC):
            codec[key.removeprefix(MUSIC)] = array
        elif key.startswith(MOTION):
            condition[key] = array
        elif key.startswith(DIFFUSION):
            diffusion[key.removeprefix(DIFFUSION)] = array
        else:
            raise ValueError(f"{path} holds {key}, which belongs to no known part of a model.")
    return codec, condition, diffusion


def _split_diffusion(diffusion: StateDict, path: Path) -> tuple[StateDict, StateDict]:
    """Return the denoiser's arrays without their prefix, and those of the condition."""
    denoiser, condition = {}, {}
    joins_two = f"{JOIN_TWO}.weight" in diffusion
    join = tuple(f"{JOIN_TWO if joins_two else JOIN_THREE}.{leaf}" for leaf in ("weight", "bias"))
    never_called = tuple(f"{JOIN_THREE}.{leaf}" for leaf in ("weight", "bias") if joins_two)
    for key, array in diffusion.items():
        if key.startswith(DENOISER):
            denoiser[key.removeprefix(DENOISER)] = array
        elif key in join or key == GENRES:
            condition[key] = array
        elif key not in LEFT_OUT and key not in never_called and not key.startswith(MUSIC):
            raise ValueError(
                f"{path} holds {DIFFUSION}{key}, which belongs to no known part of a model of "
                "music."
            )
    return denoiser, condition
