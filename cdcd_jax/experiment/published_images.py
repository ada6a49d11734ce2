"""A published image checkpoint as parameters and the configuration of its network."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import save_vqgan
from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.conditioning.clip_text import ClipTextOptions, make_clip_text
from cdcd_jax.configs import images
from cdcd_jax.evaluation.metrics.captions.clip_towers import clip_tokenizer
from cdcd_jax.experiment.model_folder import CODEC
from cdcd_jax.interop.clip import clip_text_from_state_dict
from cdcd_jax.interop.clip_shapes import describe_clip_text
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.diffusers import is_pipeline, read_pipeline
from cdcd_jax.interop.published import (
    Published,
    describe_vqgan,
    find_null_class,
    read_published,
)
from cdcd_jax.interop.stored import StateDict
from cdcd_jax.interop.vqgan import read_used_codes, read_vqgan, vqgan_from_state_dict
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.settings.values import set_values
from cdcd_jax.tasks.text_tower import save_text_tower
from cdcd_jax.tasks.texts import MERGES, TOWER
from cdcd_jax.typing import Params

PUBLISHED_HEADS = 16
"""Attention heads of every published denoiser; a configuration's are its own network's."""

PUBLISHED_SIZE = 256
"""Height and width of the images that every published codec was trained on."""

DROPOUT = 0.1
"""A share of condition dropout, for models that have a learned null condition."""

NO_MERGES = (
    "bpe_merges is not given; name CLIP's file bpe_simple_vocab_16e6.txt.gz "
    "(https://github.com/openai/CLIP/tree/main/clip)"
)


class Converted(NamedTuple):
    """A published model in the form of one of our own.

    Attributes:
        config: A configuration that has the same network, noise schedule, condition and codec.
        facts: Of ``write_description``.
        params: Of the denoiser and of the condition, as NumPy arrays.
        save: Writes the codec, and what reads texts, to a folder.
        averaged: Whether the denoiser's weights are the running average.
    """

    config: Any
    facts: dict[str, Any]
    params: Params
    save: Callable[[Path], None]
    averaged: bool


def open_published(path: Path, entries: Mapping[str, StateDict] | None = None) -> Published:
    """Find the parts of a checkpoint of images, in a file or in a folder of diffusers."""
    return read_pipeline(path) if is_pipeline(path) else read_published(path, entries=entries)


def read_images(
    found: Published,
    *,
    codec: str | Path | None,
    used_codes: str | Path | None,
    merges: str | Path | None,
    image_size: int,
) -> Converted:
    """Convert a checkpoint of images.

    Args:
        found: From ``open_published``.
        codec: See ``convert_published``, as the next two.
        used_codes: Map to the codes in use.
        merges: CLIP's byte pairs.
        image_size: Height and width of the images.

    Returns:
        The model.

    Raises:
        ValueError: If it has no condition, or its codec or CLIP's byte pairs are missing or do not
            fit.
        FileNotFoundError: If there is no such file of byte pairs.
    """
    if found.architecture["condition"] == "none":
        raise ValueError(
            f"{found.path} is a model without a condition; only classes and texts are drawn"
        )
    params, options, used = take_codec(found, codec, used_codes, image_size)
    condition, class_names = {"kind": "class", "dropout": 0.0}, ()
    null: Params = {}
    if found.condition:
        _check_merges(found, merges)
        condition = {
            "kind": "clip",
            "dropout": 0.0 if found.empty_text is None else DROPOUT,
            "null": "empty" if found.empty_text is None else "learned",
            "weights": None,
            "merges": None,
            "compute_dtype": "float32",
        }
        null = {} if found.empty_text is None else {"null": found.empty_text}
    else:
        known = found.architecture["num_classes"]
        null_class = find_null_class(known)
        class_names = tuple(map(str, range(known if null_class is None else null_class)))
        condition["dropout"] = 0.0 if null_class is None else DROPOUT
    architecture = {"num_heads": PUBLISHED_HEADS, **found.architecture, "grid": options.grid}
    network = make_denoiser(**architecture)
    denoiser = denoiser_from_reference(found.denoiser, shapes(network.init), prefix="")
    sections = {
        "data": {"name": "captions" if found.condition else "imagenet"},
        "schedule": {"name": "mask_replace", "num_steps": architecture["num_steps"]},
        "condition": condition,
        "denoiser": describe_network(architecture),
        "codec": {"name": "vqgan", **asdict(options)},
    }

    def save(folder: Path) -> None:
        save_vqgan(folder / CODEC, params, options, used)
        if found.condition:
            convert_text(found, folder / TOWER)
            assert merges is not None
            shutil.copyfile(merges, folder / MERGES)

    return Converted(
        config=set_values(images.get_config(), sections),
        facts={"class_names": class_names, "test_texts": ()},
        params={"denoiser": denoiser, "condition": null},
        save=save,
        averaged=found.averaged,
    )


def describe_network(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Derive the section ``denoiser`` from the options of a published denoiser.

    Args:
        architecture: Options of ``make_denoiser``, most of which the checkpoint's shapes tell.

    Returns:
        Keys of the section.
    """
    names = ("num_layers", "width", "num_heads", "mlp", "mlp_ratio")
    return {name: architecture[name] for name in names} | {
        "embedding_grid": architecture.get("embedding_grid", architecture["grid"]),
        "activation": "gelu2",
        "timestep": "table",
        "class_norm": "layer",
    }


def convert_text(found: Published, path: Path) -> None:
    """Write the text tower of a checkpoint of texts to a file of its own."""
    options = describe_clip_text(found.condition)
    template = shapes(make_clip_text(**options).init)
    params = clip_text_from_state_dict(found.condition, template)
    save_text_tower(path, params, options)


def take_codec(
    found: Published,
    codec: str | Path | None,
    used_codes: str | Path | None,
    image_size: int,
) -> tuple[Params, VQGANOptions, np.ndarray | None]:
    """Return the codec of the checkpoint, or of a separate file where it has none.

    Args:
        found: The checkpoint.
        codec: File of the codec, where the checkpoint has none.
        used_codes: Map to the codes in use; None for all.
        image_size: Height and width of the images.

    Returns:
        Parameters, options, and the codes in use or None for all, for ``save_vqgan``.

    Raises:
        ValueError: If there is none, or its codes in use are not those of the denoiser.
    """
    state = found.codec
    if not state and not codec:
        raise ValueError(f"{found.path} holds no codec; name its file, --config.codec.weights=FILE")
    if not state:
        assert codec is not None
        state = read_vqgan(codec)
    known = {"image_size": image_size, **found.codec_options}
    described = describe_vqgan(state, image_size=known["image_size"])
    options = VQGANOptions(**described | known)
    vqgan = make_vqgan(**asdict(options))
    used = read_used_codes(used_codes) if used_codes else None
    num_codes = options.num_codes if used is None else len(used)
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
    return vqgan_from_state_dict(state, shapes(vqgan.init)), options, used


def shapes(init: Callable[..., Params]) -> Params:
    """Return the layout of parameters, from the function that makes them."""
    return jax.eval_shape(init, jax.random.key(0))


def _check_merges(found: Published, merges: str | Path | None) -> None:
    if merges is None:
        raise ValueError(NO_MERGES)
    clip_tokenizer(merges, ClipTextOptions(**describe_clip_text(found.condition)))
