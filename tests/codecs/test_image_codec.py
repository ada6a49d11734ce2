"""Images to tokens and back: batches, used codes, precision, fingerprints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.vqgan import make_vqgan
from tests.support.published_vqgan import load_procedural

OPTIONS = {
    "image_size": 8, "channels": 24, "multipliers": (1, 2), "num_res_blocks": 1,
    "attention_resolutions": (), "latent_dim": 8, "code_dim": 6, "num_codes": 24,
}  # fmt: skip
USED = np.array([5, 3, 17, 20, 11], np.int32)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(images):
    """A codec whose codes are features of images, and what it makes of the images."""
    vqgan, params = load_procedural(OPTIONS, 0)
    features = jax.jit(vqgan.encode)(params, jnp.asarray(images) / 127.5 - 1)
    flat = np.asarray(features).reshape(-1, 6)
    noise = np.random.default_rng(1).normal(0, 0.1 * flat.std(), (24, 6))
    params["quantizer"] = {"codebook": jnp.asarray(flat[::7][:24] + noise, jnp.float32)}
    return vqgan, params, flat


@pytest.fixture(scope="module")
def codec(network):
    return ImageCodec(*network[:2], batch_size=8)


def nearest(flat, codes):
    return ((flat[:, None].astype(np.float64) - codes[None]) ** 2).sum(-1).argmin(1).reshape(11, -1)


def test_images_become_the_numbers_of_the_nearest_codes(codec, network, images):
    assert isinstance(codec, Codec)
    tokens = codec.encode(images)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, nearest(network[2], network[1]["quantizer"]["codebook"]))
    assert len(np.unique(tokens)) > 5


def test_results_do_not_depend_on_how_images_are_batched(codec, network, images):
    """Eleven images: eight at once on eight devices, or one after the other on one."""
    tokens = codec.encode(images)
    single = ImageCodec(*network[:2], batch_size=1)
    np.testing.assert_array_equal(single.encode(images), tokens)
    np.testing.assert_array_equal(codec.encode(images[8:]), tokens[8:])
    made = codec.decode(tokens)
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    np.testing.assert_allclose(single.decode(tokens), made, atol=1e-5)
    assert codec.encode(images[:0]).shape == (0, 16)
    assert codec.decode(tokens[:0]).shape == (0, 8, 8, 3)


def test_unused_codes_never_appear(codec, network, images):
    vqgan, params, flat = network
    codebook = np.asarray(params["quantizer"]["codebook"])
    among_used = ImageCodec(vqgan, params, USED, batch_size=8)
    tokens = among_used.encode(images)
    np.testing.assert_array_equal(tokens, nearest(flat, codebook[USED]))
    published = ImageCodec(vqgan, params, USED, unused="first", batch_size=8)
    table = np.zeros(24, int)
    table[USED] = np.arange(len(USED))
    np.testing.assert_array_equal(published.encode(images), table[codec.encode(images)])
    assert among_used.vocab_size == published.vocab_size == len(USED)
    # Either decodes a token as the whole codec decodes the code it stands for.
    np.testing.assert_allclose(among_used.decode(tokens), codec.decode(USED[tokens]), atol=1e-6)


def test_scored_codes_can_be_left_out_too(network, images):
    vqgan, params = load_procedural(OPTIONS | {"quantizer": "gumbel"}, 3)
    params = network[1] | {"quantizer": params["quantizer"]}
    layer = params["quantizer"]["scores"]
    scores = network[2] @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    tokens = ImageCodec(vqgan, params, USED, batch_size=8).encode(images)
    np.testing.assert_array_equal(tokens, scores[:, USED].argmax(1).reshape(tokens.shape))


def test_encoding_again_what_was_decoded_changes_nothing():
    """Of a codec of one token that tells its own images apart, every image is its own."""
    options = OPTIONS | {"image_size": 2, "num_codes": 16, "quantizer": "gumbel"}
    vqgan, params = load_procedural(options, 0)
    params["quantizer"]["codebook"] = 3 * jax.random.normal(jax.random.key(1), (16, 6))
    params["decoder"]["last"]["kernel"] *= 5
    every = np.arange(16, dtype=np.int32)[:, None]
    decoded = ImageCodec(vqgan, params, batch_size=4).decode(every)
    images = np.round(255 * decoded).astype(np.uint8)
    features = jax.jit(vqgan.encode)(params, jnp.asarray(images) / 127.5 - 1).reshape(16, 6)
    # Scores 2 f.f_k - |f_k|^2 are highest for the nearest of the features.
    params["quantizer"]["scores"] = {"kernel": 2 * features.T, "bias": -jnp.sum(features**2, 1)}
    codec = ImageCodec(vqgan, params, batch_size=4)
    assert len(np.unique(images, axis=0)) == 16
    np.testing.assert_array_equal(codec.encode(images), every)
    foreign = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 3), dtype=np.uint8)
    tokens = codec.encode(foreign)
    again = codec.encode(np.round(255 * codec.decode(tokens)).astype(np.uint8))
    np.testing.assert_array_equal(again, tokens)


def test_bfloat16_gives_nearly_the_same_tokens(codec, network, images):
    vqgan = make_vqgan(**OPTIONS, compute_dtype="bfloat16")
    rough = ImageCodec(vqgan, network[1], batch_size=8)
    tokens = codec.encode(images)
    assert np.mean(rough.encode(images) == tokens) > 0.9
    np.testing.assert_allclose(rough.decode(tokens), codec.decode(tokens), atol=0.05)


def test_fingerprint_follows_everything_that_decides_a_token(codec, network):
    vqgan, params, _ = network
    bias = params["encoder"]["last"]["bias"].at[0].add(1e-6)
    changed = jax.tree.map(lambda leaf: leaf, params)
    changed["encoder"]["last"]["bias"] = bias
    bfloat16 = make_vqgan(**OPTIONS, compute_dtype="bfloat16")
    fingerprints = {
        codec.fingerprint,
        ImageCodec(vqgan, changed).fingerprint,
        ImageCodec(bfloat16, params).fingerprint,
        ImageCodec(vqgan, params, USED).fingerprint,
        ImageCodec(vqgan, params, USED[::-1]).fingerprint,
        ImageCodec(vqgan, params, USED, unused="first").fingerprint,
    }
    assert len(fingerprints) == 6
    assert ImageCodec(vqgan, params, batch_size=3).fingerprint == codec.fingerprint


def test_mistakes_are_named(codec, network, images):
    vqgan, params, _ = network
    for keywords, message in (
        ({"unused": "zero"}, 'unused = "zero" must be one of nearest, first'),
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"used_codes": np.array([1, 24])}, r"codes 0..23, but they are 2 from 1 to 24"),
        ({"used_codes": np.array([1, 2, 1])}, "names a code twice"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageCodec(vqgan, params, **keywords)
    with pytest.raises(ValueError, match=r"must be 8 x 8 RGB, got \(9, 8, 3\)"):
        codec.encode(np.zeros((1, 9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="4 x 4 tokens, got 15"):
        codec.decode(np.zeros((1, 15), np.int32))
    with pytest.raises(ValueError, match=r"values 0..23, got 0..24"):
        codec.decode(np.array([[0] * 15 + [24]], np.int32))
