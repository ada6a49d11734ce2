"""A published checkpoint as functions that sample: denoiser, codec and, for texts, CLIP's tower.

The architecture is read off the file's shapes; the configuration gives what no shape tells: the
number of attention heads, the size of the pictures, the map to the codes in use.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from cdcd_jax.codecs.codec_file import (
    flatten,
    load_vqgan,
    save_vqgan,
    unflatten,
    write_arrays,
)
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.diffusion.schedule import Schedule, mask_replace_schedule
from cdcd_jax.interop.clip import clip_text_from_state_dict
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.published import describe_vqgan, read_published
from cdcd_jax.interop.state_dict import read_state_dict
from cdcd_jax.interop.vqgan import read_used_codes, vqgan_from_state_dict
from cdcd_jax.networks.functional import make_denoiser
from cdcd_jax.training.generation import make_sample_fn
from cdcd_jax.typing import Params

FEATURES_PER_HEAD = 64
DENOISER, TEXT, CODEC = "denoiser.safetensors", "text.safetensors", "codec.safetensors"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """Hold a published model that can be sampled.

    Attributes:
        codec: Between tokens and pictures.
        schedule: The noise schedule.
        num_classes: Number of classes; 0 for a model of texts.
        params: The denoiser's.
        sample_fn: See ``make_sample_fn``; its condition is labels, or features of texts.
        encode_text: ``tokens [batch 77] -> features``; None for a model of classes.
    """

    codec: ImageCodec
    schedule: Schedule
    num_classes: int
    params: Params
    sample_fn: Callable[..., jax.Array]
    encode_text: Callable[[np.ndarray], jax.Array] | None


def load_published(config: Any, path: Path, folder: Path) -> PublishedModel:
    """Load a published CDCD or VQ-Diffusion checkpoint of pictures.

    The first call converts it: ``denoiser.safetensors``, ``codec.safetensors`` and, for a model of
    texts, ``text.safetensors`` in the folder, which later calls read instead of the torch file.

    Args:
        config: The whole configuration; ``codec.weights`` (where the checkpoint lacks the codec),
            ``codec.used_codes``, ``codec.image_size``, ``denoiser.num_heads`` and
            ``denoiser.compute_dtype`` are read.
        path: The checkpoint.
        folder: Where the converted files go.

    Returns:
        The model.

    Raises:
        ValueError: If the file is missing, damaged or of another kind, or the codec or the map to
            the codes in use is missing or does not fit.
    """
    source = _describe_file(path)
    if _converted_from(folder / DENOISER) != source:
        _convert(config, path, folder, source)
    metadata, arrays = _read(folder / DENOISER)
    architecture = json.loads(metadata["architecture"])
    for name in ("grid", "embedding_grid"):  # JSON knows lists only
        architecture[name] = tuple(architecture[name])
    codec_params, options, used_codes = load_vqgan(folder / CODEC)
    codec = ImageCodec(
        make_vqgan(**asdict(options)),
        codec_params,
        used_codes=used_codes,
        batch_size=config.codec.batch_size,
    )
    network = make_denoiser(
        **architecture,
        num_heads=config.denoiser.num_heads,
        compute_dtype=config.denoiser.compute_dtype,
    )
    params = unflatten(arrays, jax.eval_shape(network.init, jax.random.key(0)), folder / DENOISER)
    schedule = mask_replace_schedule(
        num_steps=architecture["num_steps"], vocab_size=architecture["vocab_size"]
    )
    return PublishedModel(
        codec=codec,
        schedule=schedule,
        num_classes=architecture["num_classes"] or 0,
        params=params,
        sample_fn=make_sample_fn(schedule, network.apply, length=math.prod(codec.grid)),
        encode_text=_text_encoder(folder / TEXT) if architecture["condition"] == "cross" else None,
    )


def _convert(config: Any, path: Path, folder: Path, source: str) -> None:
    """Write our own files; the denoiser's comes last, as it says that all are there."""
    found = read_published(path)
    size = config.codec.image_size
    if found.codec:
        state, where = found.codec, path
    elif config.codec.weights:
        state, where = read_state_dict(config.codec.weights, "state_dict"), config.codec.weights
    else:
        raise ValueError(f"{path} holds no codec; name its weights, --config.codec.weights=FILE")
    options = VQGANOptions(**describe_vqgan(state, image_size=size))
    vqgan = make_vqgan(**asdict(options))
    codec = vqgan_from_state_dict(state, jax.eval_shape(vqgan.init, jax.random.key(0)))
    vocab_size = found.architecture["vocab_size"]
    used_codes = read_used_codes(config.codec.used_codes) if config.codec.used_codes else None
    num_codes = options.num_codes if used_codes is None else len(used_codes)
    if num_codes != vocab_size:
        raise ValueError(
            f"the denoiser in {path} knows {vocab_size} codes and the codec of {where} has "
            f"{num_codes}; give the published map to the codes in use, "
            f"--config.codec.used_codes=taming_vqvae_{vocab_size}.pt"
        )
    save_vqgan(folder / CODEC, codec, options, used_codes)
    if found.condition:
        text_options = _describe_text(found.condition)
        template = jax.eval_shape(make_clip_text(**text_options).init, jax.random.key(0))
        arrays = flatten(clip_text_from_state_dict(found.condition, template))
        write_arrays(folder / TEXT, arrays, {"options": json.dumps(text_options)})
    architecture = found.architecture | {"grid": options.grid}
    network = make_denoiser(**architecture, num_heads=config.denoiser.num_heads)
    template = jax.eval_shape(network.init, jax.random.key(0))
    params = denoiser_from_reference(found.denoiser, template, prefix="")
    metadata = {"architecture": json.dumps(architecture), "source": source}
    write_arrays(folder / DENOISER, flatten(params), metadata)
    print(f"Converted {path} into {folder}")


def _text_encoder(path: Path) -> Callable[[np.ndarray], jax.Array]:
    metadata, arrays = _read(path)
    clip = make_clip_text(**json.loads(metadata["options"]))
    params = unflatten(arrays, jax.eval_shape(clip.init, jax.random.key(0)), path)
    apply = jax.jit(clip.apply)
    return lambda tokens: apply(params, tokens)


def _describe_text(state: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Tell a text tower's options from its arrays by OpenAI's names."""
    vocab_size, width = state["token_embedding.weight"].shape
    blocks = {name.split(".")[2] for name in state if name.startswith("transformer.resblocks.")}
    return {
        "vocab_size": vocab_size,
        "length": state["positional_embedding"].shape[0],
        "width": width,
        "num_layers": len(blocks),
        "num_heads": max(1, width // FEATURES_PER_HEAD),
    }


def _describe_file(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    status = path.stat()
    return f"{path.name}, {status.st_size} bytes, changed at {status.st_mtime_ns}"


def _converted_from(path: Path) -> str:
    """Return what a converted denoiser was made of, or nothing if there is none."""
    return _read(path)[0].get("source", "") if path.exists() else ""


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); remove it to convert anew") from error
