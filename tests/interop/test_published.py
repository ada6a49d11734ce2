"""Published checkpoints: files with all their names, at small sizes, come apart as they should."""

import jax
import numpy as np
import pytest

from cdcd_jax.codecs.vqgan import VQGANOptions
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.interop.clip import clip_text_from_state_dict
from cdcd_jax.interop.clip_shapes import describe_clip_text
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.published import describe_vqgan, read_published
from cdcd_jax.interop.vqgan import vqgan_from_state_dict
from cdcd_jax.models import make_denoiser
from tests.support.published_files import (
    CASES,
    KEYS,
    denoiser_options,
    make_entries,
    random_like,
    template,
    write_bare,
    write_checkpoint,
)


@pytest.fixture(scope="module", params=CASES)
def checkpoint(request):
    """Return the case, its codec and the entries of the checkpoint."""
    return request.param, *make_entries(request.param)


def test_every_name_of_the_published_file_has_its_part(checkpoint, tmp_path):
    name, vqgan, entries = checkpoint
    for entry, arrays in entries.items():
        assert set(arrays) == set(KEYS[f"{name}.yaml {entry}"])
    found = read_published(write_checkpoint(tmp_path / "a.pth", entries))
    codec = vqgan_from_state_dict(found.codec, template(vqgan))
    assert jax.tree.structure(codec) == jax.tree.structure(template(vqgan))
    assert VQGANOptions(**describe_vqgan(found.codec)) == vqgan.options
    assert len(found.condition) == (0 if name == "imagenet" else 149)
    if found.condition:
        assert found.condition["transformer.resblocks.0.attn.in_proj_weight"].dtype == np.float16
        clip = make_clip_text(**describe_clip_text(found.condition))
        tower = clip_text_from_state_dict(found.condition, template(clip))
        averaged = entries["ema"]["condition_emb.positional_embedding"]
        np.testing.assert_array_equal(tower["position"], averaged)


def test_the_average_is_taken_unless_the_last_weights_are_requested(checkpoint, tmp_path):
    name, _, entries = checkpoint
    path = write_checkpoint(tmp_path / "a.pth", entries)
    options = denoiser_options(name)
    grids = {"embedding_grid": (32, 32), "num_classes": None, "cond_dim": None}
    shapes = template(make_denoiser(**options))
    for keywords, seed in (({}, 2), ({"weights": "model"}, 1)):
        found = read_published(path, **keywords)
        assert found.architecture.items() <= (grids | options).items()
        params = denoiser_from_reference(found.denoiser, shapes, prefix="")
        jax.tree.map(np.testing.assert_array_equal, params, random_like(shapes, seed))


def test_files_without_an_average_or_without_entries_are_read(checkpoint, tmp_path):
    entries = checkpoint[2]
    model = entries["model"]
    path = write_checkpoint(tmp_path / "a.pth", entries | {"scaler": {"scale": np.ones(2)}})
    found = read_published(path)
    assert found.averaged
    bare = write_bare(tmp_path / "bare.pth", model)
    wrapped = {
        entry: {f"module.{key}": array for key, array in arrays.items()}
        for entry, arrays in entries.items()
    }
    for file, averaged in (
        (write_checkpoint(tmp_path / "b.pth", {"model": model}), False),
        (bare, False),
        (write_checkpoint(tmp_path / "c.pth", wrapped), True),
    ):
        other = read_published(file)
        assert other.averaged == averaged
        assert other.architecture == found.architecture
        assert other.codec.keys() == found.codec.keys()
        assert other.condition.keys() == found.condition.keys()
        source = entries["ema"] if averaged else model
        prefix = "transformer." if averaged else "transformer.transformer."
        for key, array in other.denoiser.items():
            np.testing.assert_array_equal(array, source[prefix + key])


def test_the_null_condition_is_passed_on(checkpoint, tmp_path):
    name, _, entries = checkpoint
    assert read_published(write_checkpoint(tmp_path / "a.pth", entries)).empty_text is None
    model, ema = (np.random.default_rng(seed).normal(size=(6, 8)) for seed in (1, 2))
    learned = {
        "model": entries["model"] | {"transformer.empty_text_embed": model},
        "ema": entries["ema"] | {"empty_text_embed": ema},
    }
    path = write_checkpoint(tmp_path / "a.pth", learned)
    if name == "imagenet":  # the published code makes it for any model
        assert read_published(path).empty_text is None
        return
    for weights, array in (("ema", ema), ("model", model)):
        found = read_published(path, weights=weights).empty_text
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array.astype(np.float32))
    learned["ema"]["empty_text_embed"] = ema[:, :3]
    with pytest.raises(ValueError, match=r"empty_text_embed of shape \(6, 3\), but .* 8 features"):
        read_published(write_checkpoint(path, learned))


def test_what_is_no_such_file_is_named(checkpoint, tmp_path):
    entries = checkpoint[2]
    path = tmp_path / "a.pth"

    def refused(entries, message, **keywords):
        with pytest.raises(ValueError, match=message):
            read_published(write_checkpoint(path, entries), **keywords)

    model = entries["model"]
    refused({"state_dict": model}, "no entry model, but last_epoch, last_iter, state_dict")
    refused(
        {"model": model}, 'no averaged weights; take the last ones, weights="model"', weights="ema"
    )
    refused({"model": {}}, "holds no arrays by name in 'model'")
    refused(entries, 'weights = "best" must be "ema" or "model"', weights="best")
    one = {"x": np.zeros(1, np.float32)}
    refused({"model": model | {f"head.{k}": v for k, v in one.items()}, "ema": {}}, "holds head.x")
    refused({"model": model, "ema": {"vqvae.x": one["x"]}}, r"holds transformer.vqvae.x, which")
    codebook = next(key for key in model if key.startswith("content_codec.dec.quantize."))
    refused(entries | {"model": model | {codebook: model[codebook] + 1}}, "two different quantize")
    with pytest.raises(ValueError, match=r"no VQGAN of taming-transformers"):
        describe_vqgan({})
    with pytest.raises(ValueError, match=r"no text tower of CLIP: it lacks positional_embedding"):
        describe_clip_text({})


def test_an_average_that_lacks_arrays_of_the_denoiser_is_refused(checkpoint, tmp_path):
    entries = checkpoint[2]
    name = "transformer.blocks.1.mlp.2.bias"
    name = name if name in entries["ema"] else "transformer.blocks.1.mlp.conv2.bias"
    partly = {key: array for key, array in entries["ema"].items() if key != name}
    path = write_checkpoint(tmp_path / "a.pth", entries | {"ema": partly})
    with pytest.raises(ValueError, match=rf"a.pth lacks 1 of .* averaged .* such as {name};"):
        read_published(path)
    assert not read_published(path, weights="model").averaged


def test_weights_that_are_whole_or_not_finite_are_refused(checkpoint, tmp_path):
    name, _, entries = checkpoint
    shapes = template(make_denoiser(**denoiser_options(name)))

    def refused(change, message):
        key = "transformer.to_logits.1.weight"
        changed = entries["ema"] | {key: change(entries["ema"][key])}
        found = read_published(write_checkpoint(tmp_path / "a.pth", entries | {"ema": changed}))
        with pytest.raises(ValueError, match=message):
            denoiser_from_reference(found.denoiser, shapes, prefix="")

    refused(lambda array: array.astype(np.int64), r"a.pth holds to_logits.1.weight as int64, but")
    bad = r"a.pth holds to_logits.1.weight, of which 112 of 112 numbers are NaN or infinite"
    refused(lambda array: array * np.float32(np.nan), bad)
    refused(lambda array: np.full(array.shape, 1e300), bad)  # beyond float32


def test_a_codec_that_is_not_finite_is_refused(checkpoint, tmp_path):
    _, vqgan, entries = checkpoint
    model = {
        key: array * np.float32(np.nan) if ".quantize.emb" in key else array
        for key, array in entries["model"].items()
    }
    found = read_published(write_checkpoint(tmp_path / "a.pth", entries | {"model": model}))
    with pytest.raises(ValueError, match=r"a.pth holds quantize.emb.* NaN or infinite"):
        vqgan_from_state_dict(found.codec, template(vqgan))


def test_a_checkpoint_of_music_is_reported_as_such(tmp_path):
    arrays = {key: np.zeros(1, np.float32) for key in KEYS["aist.yaml model"]}
    path = write_checkpoint(tmp_path / "aist.pth", {"model": arrays, "ema": {}})
    with pytest.raises(ValueError, match=r"aist.pth is a checkpoint of music; .* --motion"):
        read_published(path)
