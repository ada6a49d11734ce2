"""Checkpoint files with every name of the published ones, at small sizes."""

import gzip
import json
import math
import re
from pathlib import Path

import jax
import numpy as np

from cdcd_jax.codecs.vqgan import VQGAN, make_vqgan
from cdcd_jax.interop.denoiser import denoiser_to_reference
from cdcd_jax.interop.vqgan import vqgan_to_state_dict
from cdcd_jax.models import make_denoiser
from tests.interop.test_state_dict import tensor, write_torch
from tests.support.published_denoiser import PUBLISHED, template
from tests.support.published_vqgan import F8, F16

KEYS = json.loads(gzip.decompress(Path(__file__).with_name("published_keys.json.gz").read_bytes()))
"""The names, with shapes and dtypes, that modules of the published code have."""

CASES = {"imagenet": F16, "cub200": F8}
"""The codec of each model of images."""

SMALL = {"width": 16, "mlp_ratio": 2, "vocab_size": 7, "num_steps": 5}
SMALL_CODEC = {"channels": 2, "latent_dim": 4, "code_dim": 4, "num_codes": 9}
SMALL_TEXT = {512: 8, 1536: 24, 2048: 32, 49408: 50, 77: 6}
"""Sizes in the text tower and what becomes of them."""

KINDS = {"DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
         "LongStorage": np.int64}  # fmt: skip


def denoiser_options(name: str, num_classes: int = 11) -> dict:
    """Return the options of a model's denoiser at a small size."""
    options = PUBLISHED[name] | SMALL
    return options | ({"num_classes": num_classes} if name == "imagenet" else {"cond_dim": 8})


def make_entries(
    name: str, text_sizes: dict[int, int] = SMALL_TEXT, num_classes: int = 11
) -> tuple[VQGAN, dict]:
    """Make the codec and the entries ``model`` and ``ema`` of a checkpoint of images."""
    network = make_denoiser(**denoiser_options(name, num_classes))
    vqgan = make_vqgan(**CASES[name] | SMALL_CODEC)
    codec = vqgan_to_state_dict(random_like(template(vqgan), 0))
    encoding = ("encoder.", "quant_conv.", "quantize.")
    decoding = ("decoder.", "post_quant_conv.", "quantize.")
    model = {f"content_codec.enc.{k}": v for k, v in codec.items() if k.startswith(encoding)}
    model |= {f"content_codec.dec.{k}": v for k, v in codec.items() if k.startswith(decoding)}
    averaged: dict[str, np.ndarray] = {}
    for part, prefix, seed in ((model, "transformer.", 1), (averaged, "", 2)):
        params = random_like(template(network), seed)
        part |= denoiser_to_reference(params, prefix=f"{prefix}transformer.")
        random = np.random.default_rng(seed)
        for key, (shape, dtype) in KEYS[f"{name}.yaml model"].items():
            inner = key.removeprefix("transformer.")
            if key.startswith("transformer.") and prefix + inner not in part:
                small = [text_sizes.get(size, min(size, 10)) for size in shape]
                part[prefix + inner] = random.normal(size=small).astype(dtype)
    return vqgan, {"model": model, "ema": averaged}


def keep_layers(entries: dict[str, dict], num_layers: int) -> dict[str, dict]:
    """Leave out the denoiser's later blocks."""

    def kept(key: str) -> bool:
        block = re.match(r"(?:transformer\.)*blocks\.(\d+)\.", key)
        return block is None or int(block[1]) < num_layers

    return {name: {k: v for k, v in part.items() if kept(k)} for name, part in entries.items()}


def random_like(shapes, seed):
    """Draw weights that neither drown nor fix what goes through many layers."""
    random = np.random.default_rng(seed)

    def draw(leaf):
        scale = math.prod(leaf.shape[-4:-1]) ** -0.5
        return (scale * random.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree.map(draw, shapes)


def write_checkpoint(path: Path, entries: dict[str, dict[str, np.ndarray]], **more) -> Path:
    """Write dicts of arrays as torch.save does, and ``more`` as it is."""
    storages, tree = {}, {"last_epoch": 99, "last_iter": 7, **more}
    for entry, arrays in entries.items():
        tree[entry] = {}
        for name, array in arrays.items():
            kind = kind_of(array)
            key = str(len(storages))
            storages[key] = np.ascontiguousarray(array)
            tree[entry][name] = tensor(kind, key, array.shape, steps(storages[key]), array.size)
    return write_torch(path, tree, storages)


def write_map(path: Path, num_codes: int, used: list[int]) -> Path:
    """Write the map of all codes to the used ones, as torch.save does."""
    table = np.zeros(num_codes, np.int64)
    table[used] = np.arange(len(used))
    return write_torch(
        path, tensor("LongStorage", "0", table.shape, (1,), table.size), {"0": table}
    )


def write_bare(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write arrays by name as torch.save does with a state dict."""
    storages = {
        str(index): np.ascontiguousarray(array) for index, array in enumerate(arrays.values())
    }
    tree = {
        name: tensor(kind_of(array), key, array.shape, steps(array), array.size)
        for name, (key, array) in zip(arrays, storages.items(), strict=True)
    }
    return write_torch(path, tree, storages)


def kind_of(array: np.ndarray) -> str:
    """Name PyTorch's storage of an array's numbers."""
    return next(kind for kind, dtype in KINDS.items() if array.dtype == dtype)


def steps(array: np.ndarray) -> tuple[int, ...]:
    """Count an array's strides in numbers."""
    return tuple(step // array.itemsize for step in array.strides)
