"""A published checkpoint as functions that sample: denoiser, codec and, for texts, CLIP's tower.

The architecture is read off the file's shapes. What no shape tells, the published models share.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from safetensors import SafetensorError, safe_open

from cdcd_jax.codecs.codec_file import flatten, load_vqgan, save_vqgan, unflatten, write_arrays
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.diffusion.schedule import Schedule, mask_replace_schedule
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.distributed.shard_batch import place_whole
from cdcd_jax.interop.clip import clip_text_from_state_dict
from cdcd_jax.interop.clip_shapes import describe_clip_text
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.diffusers import find_merges, is_pipeline, pipeline_files, read_pipeline
from cdcd_jax.interop.published import (
    Published,
    describe_vqgan,
    find_null_class,
    read_published,
)
from cdcd_jax.interop.safetensors_file import read_safetensors
from cdcd_jax.interop.stored import StoredTensor
from cdcd_jax.interop.vqgan import read_used_codes, read_vqgan, vqgan_from_state_dict
from cdcd_jax.io import is_first_host, wait_for_hosts
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.reading.json_text import parse_json
from cdcd_jax.tasks.text_tower import load_text_tower, save_text_tower
from cdcd_jax.training.generation import SampleFn, make_sample_fn
from cdcd_jax.training.model import Model
from cdcd_jax.typing import Params

PUBLISHED_HEADS = 16
"""Attention heads of every published denoiser; a configuration's are its own network's."""

PUBLISHED_SIZE = 256
"""Height and width of the pictures that every published codec was trained on."""

DENOISER, TEXT, CODEC = "denoiser.safetensors", "text.safetensors", "codec.safetensors"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """Hold a published model that can be sampled.

    Attributes:
        codec: Between tokens and pictures.
        schedule: The noise schedule.
        num_classes: Number of classes, without the one that stands for none; 0 for a model of
            texts.
        params: The denoiser's.
        model: The denoiser as what is sampled.
        sample_fn: See ``make_sample_fn``; its condition is labels, or features of texts.
        encode_text: ``tokens [batch 77] -> features``; None for a model of classes.
        architecture: Options of the denoiser, as of ``make_denoiser``.
        merges_file: CLIP's byte pairs, where they come with the checkpoint.
    """

    codec: ImageCodec
    schedule: Schedule
    num_classes: int
    params: Params
    model: Model
    sample_fn: SampleFn
    encode_text: Callable[[np.ndarray], jax.Array] | None
    architecture: dict[str, Any]
    merges_file: Path | None = None


def load_published(
    config: Any, path: Path, folder: Path, *, image_size: int = PUBLISHED_SIZE
) -> PublishedModel:
    """Load a published CDCD or VQ-Diffusion checkpoint of pictures.

    The first call converts it: ``denoiser.safetensors``, ``codec.safetensors`` and, for a model of
    texts, ``text.safetensors`` in the folder. Later calls read these, unless a file they were made
    of has changed since.

    Args:
        config: The whole configuration; ``codec.weights`` (where the checkpoint lacks the codec),
            ``codec.used_codes``, ``codec.batch_size`` and ``denoiser.compute_dtype`` are read.
        path: The checkpoint; or a folder of diffusers' ``VQDiffusionPipeline``.
        folder: Where the converted files go.
        image_size: Height and width of the pictures; the published models know no other than 256.

    Returns:
        The model.

    Raises:
        ValueError: If a file is missing, damaged or of another kind, or the codec or the map to
            the codes in use is missing or does not fit.
        OSError: If the folder cannot be written.
    """
    if config.codec.name != "vqgan":
        raise ValueError(
            f'codec.name = "{config.codec.name}" must be "vqgan" for a published checkpoint; take '
            "--config=configs/imagenet.py"
        )
    source = json.dumps([image_size, *_describe_files(config, path)])
    if is_first_host() and _converted_from(folder) != source:
        _convert(config, path, folder, source, image_size)
    wait_for_hosts(f"converted {path}")
    with _naming(folder / CODEC):
        codec_params, codec_options, used_codes = load_vqgan(folder / CODEC)
    vqgan = make_vqgan(**asdict(codec_options))
    codec = ImageCodec(vqgan, codec_params, used_codes, batch_size=config.codec.batch_size)
    metadata, arrays = _read(folder / DENOISER)
    architecture: dict[str, Any] = {"num_heads": PUBLISHED_HEADS, **_architecture(metadata)}
    dtype = config.denoiser.compute_dtype
    network = make_denoiser(**architecture, compute_dtype=dtype)
    schedule = mask_replace_schedule(
        num_steps=architecture["num_steps"], vocab_size=architecture["vocab_size"]
    )
    mesh = make_mesh()
    encode_text, null = None, None
    if architecture["condition"] == "cross":
        encode_text, null = _text_encoder(folder / TEXT)
    num_classes = architecture["num_classes"] or 0
    null_class = find_null_class(num_classes)
    if null_class is not None:
        num_classes, null = null_class, lambda params, batch: jnp.full(batch, null_class)
    model = Model(network.init, network.logits, null=null)
    return PublishedModel(
        codec=codec,
        schedule=schedule,
        num_classes=num_classes,
        params=_place(_arrange(arrays, network.init, folder / DENOISER), mesh),
        sample_fn=make_sample_fn(schedule, model, length=math.prod(codec.grid), mesh=mesh),
        model=model,
        encode_text=encode_text,
        architecture=architecture,
        merges_file=find_merges(path),
    )


def _convert(config: Any, path: Path, folder: Path, source: str, image_size: int) -> None:
    """Write our own files; the denoiser's comes last, as it says what all were made of."""
    found = open_published(path)
    if found.architecture["condition"] == "none":
        raise ValueError(f"{path} is a model without a condition; only classes and texts are drawn")
    codec, options, used_codes = take_codec(config, found, image_size)
    architecture = {"num_heads": PUBLISHED_HEADS, **found.architecture, "grid": options.grid}
    network = make_denoiser(**architecture)
    denoiser = denoiser_from_reference(found.denoiser, _shapes(network.init), prefix="")
    save_vqgan(folder / CODEC, codec, options, used_codes)
    if architecture["condition"] == "cross":
        convert_text(found, folder / TEXT)
    metadata = {"architecture": json.dumps(architecture), "source": source}
    write_arrays(folder / DENOISER, flatten(denoiser), metadata)
    which = "" if found.averaged else ": the last weights, as it holds no averaged ones"
    print(f"Converted {path} into {folder}{which}")


def open_published(path: Path) -> Published:
    """Find the parts of a checkpoint of images, in a file or in a folder of diffusers."""
    return read_pipeline(path) if is_pipeline(path) else read_published(path)


def convert_text(found: Published, path: Path) -> None:
    """Write the text tower of a checkpoint of texts to a file of its own."""
    options = describe_clip_text(found.condition)
    template = _shapes(make_clip_text(**options).init)
    params = clip_text_from_state_dict(found.condition, template)
    save_text_tower(path, params, options, found.empty_text)


def take_codec(
    config: Any, found: Published, image_size: int
) -> tuple[Params, VQGANOptions, np.ndarray | None]:
    """Take the codec of the checkpoint, or of a file of its own where that has none.

    Args:
        config: The whole configuration.
        found: The checkpoint.
        image_size: Height and width of the images.

    Returns:
        Parameters, options, and the codes in use or None for all, for ``save_vqgan``.

    Raises:
        ValueError: If there is none, or its codes in use are not those of the denoiser.
    """
    state, weights = found.codec, config.codec.weights
    if not state and not weights:
        raise ValueError(f"{found.path} holds no codec; name its file, --config.codec.weights=FILE")
    if not state:
        state = read_vqgan(weights)
    known = {"image_size": image_size, **found.codec_options}
    described = describe_vqgan(state, image_size=known["image_size"])
    options = VQGANOptions(**described | known)
    vqgan = make_vqgan(**asdict(options))
    used_codes = read_used_codes(config.codec.used_codes) if config.codec.used_codes else None
    num_codes = options.num_codes if used_codes is None else len(used_codes)
    vocab_size = found.architecture["vocab_size"]
    if num_codes != vocab_size == options.num_codes:
        raise ValueError(
            f"the denoiser in {found.path} knows all {vocab_size} codes of its codec; leave "
            "--config.codec.used_codes out"
        )
    if num_codes != vocab_size:
        raise ValueError(
            f"the denoiser in {found.path} knows {vocab_size} codes, but {num_codes} are in use; "
            "give the published map to the codes in use, "
            f"--config.codec.used_codes=taming_vqvae_{vocab_size}.pt"
        )
    return vqgan_from_state_dict(state, _shapes(vqgan.init)), options, used_codes


def _text_encoder(
    path: Path,
) -> tuple[Callable[[np.ndarray], jax.Array], Callable[[Params, int], jax.Array] | None]:
    """Load what reads texts, and what stands for none where the model has learned such a thing."""
    with _naming(path):
        tower = load_text_tower(path)
    params, empty = tower.params, tower.empty
    clip = make_clip_text(**vars(tower.options))
    apply = jax.jit(clip.apply)

    def encode(tokens: np.ndarray) -> jax.Array:
        return apply(params, tokens)

    if empty is None:
        return encode, None
    return encode, lambda params, batch: jnp.broadcast_to(jnp.asarray(empty), (batch, *empty.shape))


def _describe_files(config: Any, path: Path) -> list[str]:
    """Tell the files that a conversion reads from what they were at another time."""
    files = [
        *(pipeline_files(path) if is_pipeline(path) else [path]),
        *(Path(name) for name in (config.codec.weights, config.codec.used_codes) if name),
    ]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ValueError(f"there is no file {missing[0]}")
    sizes = [(file.name, file.stat()) for file in files]
    return [f"{name}, {stat.st_size} bytes, of {stat.st_mtime_ns}" for name, stat in sizes]


def _converted_from(folder: Path) -> str:
    """Return what the converted files were made of, or nothing unless all are there."""
    if not (folder / DENOISER).is_file() or not (folder / CODEC).is_file():
        return ""
    with _naming(folder / DENOISER), safe_open(folder / DENOISER, framework="numpy") as file:
        metadata = file.metadata()
        needs_text = _architecture(metadata)["condition"] == "cross"
        return metadata["source"] if not needs_text or (folder / TEXT).is_file() else ""


def _architecture(metadata: dict[str, str]) -> dict[str, Any]:
    """Read a denoiser's options back from JSON, which knows lists only."""
    options = parse_json(metadata["architecture"], "its architecture")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def _read(path: Path) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    with _naming(path), safe_open(path, framework="numpy") as file:
        return file.metadata(), read_safetensors(path)


def _arrange(arrays: dict[str, StoredTensor], init: Callable[..., Params], path: Path) -> Params:
    with _naming(path):
        return unflatten(arrays, _shapes(init), path)


def _place(tree: Params, mesh: Mesh) -> Params:
    """Read arrays and put them on all devices, one after another: no two copies of all of them."""
    return jax.tree.map(
        lambda stored: jax.block_until_ready(place_whole(np.asarray(stored), mesh)), tree
    )


def _shapes(init: Callable[..., Params]) -> Params:
    return jax.eval_shape(init, jax.random.key(0))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name one of our own files where it turns out to be damaged."""
    try:
        yield
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"{path} is damaged ({reason}); remove it to convert the checkpoint anew"
        ) from error
