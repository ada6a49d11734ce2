"""Both towers against another implementation's numbers, and the images' preparation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.conditioning.clip_image import DEVIATION, MEAN, make_clip_image, prepare_images
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.interop.clip import clip_image_from_state_dict, clip_text_from_state_dict
from tests.support.golden_files import load_golden
from tests.support.procedural import layout_of, procedural_state

SIZES = {"width": 128, "num_layers": 2, "num_heads": 2, "embed_dim": 32}
TEXT = {"vocab_size": 524, "length": 24, **SIZES}
IMAGE = {"image_size": 48, "patch_size": 16, **SIZES}


def template(tower):
    return jax.eval_shape(tower.init, jax.random.key(0))


@pytest.fixture(scope="module")
def embed():
    """Return a function that embeds by towers of a dtype, and its inputs and outputs elsewhere."""
    data = load_golden("clip_score/transformers.npz")
    state = {key: np.asarray(array) for key, array in procedural_state(layout_of(data)).items()}
    tokens, images = jnp.asarray(data["tokens"]), jnp.asarray(data["pictures"] / np.float32(255))

    def compute(dtype):
        text = make_clip_text(compute_dtype=dtype, **TEXT)
        image = make_clip_image(compute_dtype=dtype, **IMAGE)
        text_params = clip_text_from_state_dict(state, template(text))
        image_params = clip_image_from_state_dict(state, template(image))
        return {
            "text": np.asarray(jax.jit(text.embed)(text_params, tokens)),
            "image": np.asarray(jax.jit(image.embed)(image_params, images)),
        }

    return compute, data


def test_embeddings_are_those_of_transformers(embed):
    compute, data = embed
    for name, found in compute("float32").items():
        np.testing.assert_allclose(found, data[f"{name}_fp32"], atol=1e-5)  # deviations are 1.5
    for name, found in compute("float16").items():
        # Both round, but not at the same places; the other differs by 0.006 and 0.009 from float32.
        np.testing.assert_allclose(found, data[f"{name}_fp16"], atol=0.015)
        error = np.abs(found - data[f"{name}_fp32"]).max()
        assert 1e-4 < error < 0.01


def test_bfloat16_is_near_float32(embed):
    compute, data = embed
    for name, found in compute("bfloat16").items():
        exact = data[f"{name}_fp32"]
        assert np.linalg.norm(found - exact) < 0.03 * np.linalg.norm(exact)
        assert np.abs(found - exact).max() > 1e-3


def photograph(height, width):
    """Draw slopes, edges and some noise."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (3 + 5 * c)) + np.cos(columns * rows / 700 + c) for c in range(3)]
    values = 127 + 50 * np.stack(waves, axis=-1) + 60 * ((rows // 9 + columns // 13) % 2)[..., None]
    noise = np.random.default_rng(0).normal(size=values.shape)
    return np.clip(values + 6 * noise - 30, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "left", "top"),
    [(90, 60, 0, 12), (97, 130, 8, 0), (24, 24, 0, 0), (48, 48, 0, 0)],
)
def test_images_are_resized_as_pillow_does(height, width, left, top):
    image, size, short = photograph(height, width), 48, min(height, width)
    shape = (size * width // short, size * height // short)
    ours = np.asarray(prepare_images(jnp.asarray(image[None] / np.float32(255)), size))[0]
    ours = 255 * (ours * np.array(DEVIATION) + np.array(MEAN))

    def cut(channel):
        return np.asarray(channel.crop((left, top, left + size, top + size)), np.float64)

    channels = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
    exact = [cut(channel.resize(shape, Image.Resampling.BICUBIC)) for channel in channels]
    np.testing.assert_allclose(ours, np.clip(np.stack(exact, axis=-1), 0, 255), atol=0.01)
    # The published code's images are rounded to 8 bits twice.
    rounded = cut(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))
    assert np.sqrt(np.mean((ours - rounded) ** 2)) < 0.5


def test_full_size_is_the_published_one():
    """As many numbers as the published ViT-B/32, less its one temperature."""
    towers = (make_clip_text(embed_dim=512), make_clip_image())
    leaves = jax.tree.leaves([template(tower) for tower in towers])
    assert sum(leaf.size for leaf in leaves) == 151_277_313 - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 30}, "image_size = 224 must be a multiple of patch_size = 30"),
        ({"num_heads": 7}, "width = 768 must be a multiple of num_heads = 7"),
        ({"embed_dim": 0}, "embed_dim = 0 must be at least 1"),
        ({"compute_dtype": "int8"}, 'compute_dtype = "int8" must be one of "float32", "float16"'),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_clip_image(**options)
