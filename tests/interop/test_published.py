"""Published checkpoints: files with all their names, at small sizes, come apart as they should."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.interop.clip import clip_text_from_state_dict
from cdcd_jax.interop.denoiser import denoiser_from_reference, denoiser_to_reference
from cdcd_jax.interop.published import (
    check_architecture,
    describe_vqgan,
    read_published,
)
from cdcd_jax.interop.vqgan import vqgan_from_state_dict, vqgan_to_state_dict
from cdcd_jax.networks import make_denoiser

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.parent / "codecs"))
sys.path.append(str(Path(__file__).parent.parent / "networks"))
from conftest import find_golden
from published import PUBLISHED, template
from published_vqgan import F8, F16
from test_state_dict import tensor, write_torch

SMALL = {"width": 16, "mlp_ratio": 2, "vocab_size": 7, "num_steps": 5}
TEXT_SIZES = {512: 8, 1536: 24, 2048: 32, 49408: 50, 77: 6}
KINDS = {"DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
         "LongStorage": np.int64}  # fmt: skip
CASES = {"imagenet": F16, "cub200": F8}


def random_like(shapes, seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


def write_checkpoint(path, entries):
    """Write dicts of arrays as torch.save does."""
    storages, tree = {}, {"last_epoch": 99, "last_iter": 7}
    for entry, arrays in entries.items():
        tree[entry] = {}
        for name, array in arrays.items():
            kind = next(kind for kind, dtype in KINDS.items() if array.dtype == dtype)
            key = str(len(storages))
            storages[key] = np.ascontiguousarray(array)
            strides = tuple(step // array.itemsize for step in storages[key].strides)
            tree[entry][name] = tensor(kind, key, array.shape, strides, array.size)
    return write_torch(path, tree, storages)


def denoiser_options(name):
    options = PUBLISHED[name] | SMALL
    return options | ({"num_classes": 11} if name == "imagenet" else {"cond_dim": 8})


@pytest.fixture(scope="module", params=CASES)
def checkpoint(request, tmp_path_factory):
    """Return the case, the entries of the checkpoint, and the published lists of names."""
    name = request.param
    keys = json.loads(find_golden("state_dict_keys.json").read_text())["keys"]
    network = make_denoiser(**denoiser_options(name))
    vqgan = make_vqgan(**CASES[name] | {"channels": 2, "latent_dim": 4, "code_dim": 4,
                                        "num_codes": 9})  # fmt: skip
    codec = vqgan_to_state_dict(random_like(template(vqgan), 0))
    decoding = ("decoder.", "post_quant_conv.", "quantize.")
    encoding = ("encoder.", "quant_conv.", "quantize.")
    model = {f"content_codec.enc.{k}": v for k, v in codec.items() if k.startswith(encoding)}
    model |= {f"content_codec.dec.{k}": v for k, v in codec.items() if k.startswith(decoding)}
    averaged = {}
    for part, prefix, seed in ((model, "transformer.", 1), (averaged, "", 2)):
        params = random_like(template(network), seed)
        part |= denoiser_to_reference(params, prefix=f"{prefix}transformer.")
        for key, (shape, dtype) in keys[f"{name}.yaml model"].items():
            inner = key.removeprefix("transformer.")
            if key.startswith("transformer.") and prefix + inner not in part:
                small = tuple(TEXT_SIZES.get(size, min(size, 10)) for size in shape)
                part[prefix + inner] = np.full(small, seed, dtype)
    return name, vqgan, {"model": model, "ema": averaged}, keys


def test_every_name_of_the_published_file_has_its_part(checkpoint, tmp_path):
    name, vqgan, entries, keys = checkpoint
    for entry, arrays in entries.items():
        assert set(arrays) == set(keys[f"{name}.yaml {entry}"])
    found = read_published(write_checkpoint(tmp_path / "a.pth", entries))
    codec = vqgan_from_state_dict(found.codec, template(vqgan))
    assert jax.tree.structure(codec) == jax.tree.structure(template(vqgan))
    assert VQGANOptions(**describe_vqgan(found.codec)) == vqgan.options
    assert len(found.condition) == (0 if name == "imagenet" else 149)
    if found.condition:
        assert found.condition["transformer.resblocks.0.attn.in_proj_weight"].dtype == np.float16
        clip = make_clip_text(vocab_size=50, length=6, width=8, num_heads=2)
        tower = clip_text_from_state_dict(found.condition, template(clip))
        np.testing.assert_array_equal(tower["blocks"]["out"]["bias"], 2)  # as the average has it


def test_the_average_is_taken_unless_the_last_weights_are_asked_for(checkpoint, tmp_path):
    name, _, entries, _ = checkpoint
    path = write_checkpoint(tmp_path / "a.pth", entries)
    options = denoiser_options(name)
    shapes = template(make_denoiser(**options))
    for keywords, seed in (({}, 2), ({"weights": "model"}, 1)):
        found = read_published(path, **keywords)
        check_architecture(found, options)
        params = denoiser_from_reference(found.denoiser, shapes, prefix="")
        jax.tree.map(np.testing.assert_array_equal, params, random_like(shapes, seed))


def test_another_architecture_is_named_option_by_option(checkpoint, tmp_path):
    name, _, entries, _ = checkpoint
    found = read_published(write_checkpoint(tmp_path / "a.pth", entries))
    other = denoiser_options(name) | {"num_layers": 3, "vocab_size": 8}
    layers = denoiser_options(name)["num_layers"]
    message = rf"a.pth .* vocab_size = 7 \(not 8\), num_layers = {layers} \(not 3\): set"
    with pytest.raises(ValueError, match=message):
        check_architecture(found, other)


def test_what_is_no_such_file_is_named(checkpoint, tmp_path):
    entries = checkpoint[2]
    path = tmp_path / "a.pth"

    def refused(entries, message, **keywords):
        with pytest.raises(ValueError, match=message):
            read_published(write_checkpoint(path, entries), **keywords)

    model = entries["model"]
    refused({"state_dict": model}, "no entry model, but last_epoch, last_iter, state_dict")
    refused({"model": model}, 'no averaged weights; take the last ones, weights="model"')
    refused(entries | {"teacher": {}}, "an entry teacher that")
    refused(entries, 'weights = "best" must be "ema" or "model"', weights="best")
    one = {"x": np.zeros(1, np.float32)}
    refused({"model": model | {f"head.{k}": v for k, v in one.items()}, "ema": {}}, "holds head.x")
    refused({"model": model, "ema": {"vqvae.x": one["x"]}}, r"holds transformer.vqvae.x, which")
    codebook = next(key for key in model if key.startswith("content_codec.dec.quantize."))
    refused(entries | {"model": model | {codebook: model[codebook] + 1}}, "two different quantize")
    with pytest.raises(ValueError, match=r"no VQGAN of taming-transformers"):
        describe_vqgan({})
