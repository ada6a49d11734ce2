"""Numbers that the published codecs computed: features, codes and images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.interop.vqgan import used_codes
from tests.support.published_vqgan import GOLDEN, PROCEDURAL, load_golden, load_procedural

TOLERANCE = {"rtol": 1e-5, "atol": 3e-5}


def to_ours(maps):
    """[batch features height width] -> [batch height width features]."""
    return np.moveaxis(maps, 1, -1)


def check_indices(vqgan, params, data):
    """Compare features and codes; return the codes."""
    # The published images are not whole numbers, so they cannot go through ImageCodec.
    images = jnp.asarray(to_ours(data["image"])) / 127.5 - 1
    features = jax.jit(vqgan.encode)(params, images)
    np.testing.assert_allclose(features, to_ours(data["pre_quant"]), **TOLERANCE)
    theirs = data["indices_argmax" if "indices_argmax" in data else "indices"]
    indices = vqgan.indices(params, features)
    np.testing.assert_array_equal(indices, theirs.reshape(indices.shape))
    return indices


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCEDURAL)
def test_published_size(golden, name):
    data = golden(f"vqgan/{name}_real_procedural.npz")
    vqgan, params = load_procedural(*PROCEDURAL[name])
    indices = check_indices(vqgan, params, data)
    images = jax.jit(vqgan.decode)(params, vqgan.lookup(params, indices))
    np.testing.assert_allclose(images, to_ours(data["decoder_raw"]), **TOLERANCE)


@pytest.mark.parametrize("name", GOLDEN)
def test_tokens_and_images_as_published(golden, name):
    """The policy "first" is the published code's, whose images have the range 0..255."""
    data = golden(f"vqgan/{name}.npz")
    vqgan, params = load_golden(data, GOLDEN[name])
    used = used_codes(data["full_to_quantize"])
    np.testing.assert_array_equal(used, data["quantize_to_full"])
    codec = ImageCodec(vqgan, params, used, unused="first", batch_size=len(data["image"]))
    indices = check_indices(vqgan, params, data).reshape(len(data["image"]), -1)
    tokens = data["full_to_quantize"][indices]
    named = "tokens_quantized_argmax" if "indices_argmax" in data else "tokens_quantized"
    np.testing.assert_array_equal(tokens, data[named])
    made = codec.decode(data["tokens_quantized"].astype(np.int32))
    np.testing.assert_allclose(255 * made, to_ours(data["decode_tokens"]), atol=2e-3)


def test_published_maps_to_used_codes(golden):
    data = golden("vqgan/published_index_maps.npz")
    for number in (2887, 974):
        used = used_codes(data[f"full_to_quantize_{number}"])
        np.testing.assert_array_equal(used, data[f"quantize_to_full_{number}"])
