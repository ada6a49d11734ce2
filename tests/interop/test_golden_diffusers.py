"""Files that PyTorch and diffusers wrote give the numbers that they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.interop import (
    clip_text_from_state_dict,
    denoiser_from_reference,
    describe_clip_text,
    describe_vqgan,
    read_state_dict,
    vqgan_from_state_dict,
)
from cdcd_jax.interop.diffusers import read_pipeline
from cdcd_jax.models import make_denoiser
from tests.support.golden_files import find_golden, load_golden


@pytest.fixture(scope="module")
def parts():
    return read_pipeline(find_golden("diffusers/model_index.json").parent)


@pytest.fixture(scope="module")
def numbers():
    return load_golden("diffusers/numbers.npz")


def shapes(part):
    return jax.eval_shape(part.init, jax.random.key(0))


def test_the_denoiser_of_diffusers(parts, numbers):
    network = make_denoiser(**parts.architecture, grid=(4, 4))
    params = denoiser_from_reference(parts.denoiser, shapes(network), prefix="")
    zt, t = jnp.asarray(numbers["zt"], jnp.int32), jnp.full(2, 38)
    found = network.apply(params, zt, t, jnp.asarray(numbers["cond"]))
    np.testing.assert_allclose(found.transpose(0, 2, 1), numbers["log_probs"], atol=3e-6)


def test_the_codec_of_diffusers(parts, numbers):
    size = parts.codec_options["image_size"]
    options = describe_vqgan(parts.codec, image_size=size) | parts.codec_options
    assert (options["norm_groups"], options["image_size"]) == (4, 16)
    vqgan = make_vqgan(**options)
    params = vqgan_from_state_dict(parts.codec, shapes(vqgan))
    codes = jnp.asarray(numbers["codes"], jnp.int32).reshape(2, 4, 4)
    decoded = jax.jit(lambda x: vqgan.decode(params, vqgan.lookup(params, x)))(codes)
    np.testing.assert_allclose(decoded.transpose(0, 3, 1, 2), numbers["decoded"], atol=3e-5)
    images = jnp.asarray(numbers["images"]).transpose(0, 2, 3, 1)
    indices = jax.jit(lambda x: vqgan.indices(params, vqgan.encode(params, x)))(images)
    np.testing.assert_array_equal(indices.ravel(), numbers["indices"])


def test_the_text_encoder_of_diffusers(parts, numbers):
    options = describe_clip_text(parts.condition)
    clip = make_clip_text(**options)
    params = clip_text_from_state_dict(parts.condition, shapes(clip))
    features = clip.apply(params, jnp.asarray(numbers["texts"], jnp.int32))
    np.testing.assert_allclose(features, numbers["features"], atol=3e-6)
    assert parts.empty_text is not None
    assert parts.empty_text.shape == (7, 8)


@pytest.mark.parametrize("name", ["last.ckpt", "last_legacy.ckpt"])
def test_a_checkpoint_of_lightning_that_torch_wrote(name):
    path = find_golden(f"lightning/{name}")
    expected = load_golden("lightning/arrays.npz")
    found = read_state_dict(path, "state_dict")
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key].astype(np.float32), array)
    assert found["half"].dtype == np.float16
    for entry in ("callbacks", "hyper_parameters"):
        with pytest.raises(ValueError, match=rf"{name} imports pytorch_lightning\."):
            read_state_dict(path, entry)
