"""Editing of images: what is masked is generated, the rest stays bit for bit."""

import re

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.codecs.patches import PatchCodec
from cdcd_jax.conditioning.condition import no_condition
from cdcd_jax.conditioning.conditioning import Conditioning
from cdcd_jax.data.toy.digits import load_digits
from cdcd_jax.editing import fit_images
from tests.support.small_digits import build_small_digits

SAMPLING = {"num_steps": 4, "seed": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Build a model of digits with weights on which the condition has an effect."""
    _, built = build_small_digits(tmp_path_factory.mktemp("run"), total=8, num_steps=4)
    keys = iter(jax.random.split(jax.random.key(0), 200))
    params = built.model.init(jax.random.key(1))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), params)
    return built.generator(params)


@pytest.fixture(scope="module")
def digits(model):
    return model.decode(load_digits("test").tokens[:2])


def test_a_mask_of_nothing_returns_the_input_and_of_everything_samples(model, digits):
    nothing = np.zeros((8, 8), bool)
    for data in (digits[0], digits, digits[0] * 0.93):  # the last is none that the codec decodes
        edited = model.edit(data, nothing, 3, **SAMPLING)
        np.testing.assert_array_equal(edited, data.reshape(-1, 8, 8))
    tokens = model.encode(digits)
    np.testing.assert_array_equal(model.edit(digits, nothing, 3, output="tokens"), tokens)
    plain = model.sample([3, 5], num_samples=4, **SAMPLING)
    for everything in (None, ~nothing, (0, 0, 8, 8)):
        edited = model.edit(digits[0], everything, [3, 5], num_samples=4, **SAMPLING)
        np.testing.assert_array_equal(edited, plain)


def test_what_is_not_masked_stays_and_the_rest_is_new(model, digits):
    mask = np.zeros((8, 8), bool)
    mask[2:5, 1:7] = True
    data = 0.97 * digits
    edited = model.edit(data, mask, 3, num_samples=6, **SAMPLING)
    assert edited.shape == (6, 8, 8)
    for sample, original in zip(edited, [*data] * 3, strict=True):
        np.testing.assert_array_equal(sample[~mask], original[~mask])
    assert len(np.unique(edited[:, mask], axis=0)) == 6
    box = model.edit(data, (2, 1, 3, 6), 3, num_samples=6, **SAMPLING)
    np.testing.assert_array_equal(box, edited)
    drawn = model.edit(data, mask, 3, num_samples=6, output="pil", **SAMPLING)
    np.testing.assert_array_equal(drawn[1], np.round(255 * edited[1]).astype(np.uint8))
    known = model.encode(data[:1])
    tokens = model.edit(data[0], mask, 3, output="tokens", **SAMPLING)
    np.testing.assert_array_equal(tokens[0, ~mask.reshape(-1)], known[0, ~mask.reshape(-1)])
    other = model.edit(data, mask, 5, num_samples=6, **SAMPLING)
    assert np.any(other != edited)


def test_variations_stay_closer_the_weaker_they_are(model, digits):
    changed = []
    mild = model.with_params(jax.tree.map(lambda x: 0.3 * x, model.params))  # nothing is impossible
    for strength in (0.01, 0.5, 1.0):
        options = {"strength": strength, "truncation": 1.0, "num_samples": 32, **SAMPLING}
        changed.append(np.mean(mild.edit(digits[0], None, 3, **options) != digits[0]))
    assert changed[0] < changed[1] < changed[2]
    mask = np.arange(64).reshape(8, 8) < 32
    edited = model.edit(digits[0], mask, 3, strength=0.5, **SAMPLING)
    np.testing.assert_array_equal(edited[0][~mask], digits[0][~mask])
    steps = model.edit(digits[0], mask, 3, strength=0.5, times=(8, 5, 4, 2, 0), num_steps=4)
    assert steps.shape == (1, 8, 8)


def test_an_image_of_another_size_or_kind_is_converted(model, digits):
    large = digits[0].repeat(3, axis=0).repeat(2, axis=1)
    mask = np.zeros((24, 16), bool)
    mask[0, 0] = True  # of one pixel of the codec's the smallest part
    with pytest.warns(UserWarning, match="data: 24 x 16 pixels are resized to the model's 8 x 8"):
        edited = model.edit(large, mask, 3, **SAMPLING)
    assert np.abs(edited[0] - digits[0])[1:].mean() < 0.1
    with pytest.warns(UserWarning, match="are resized"):
        resized, masked = fit_images(large, mask, (8, 8))
    assert np.argwhere(masked).tolist() == [[0, 0]]
    np.testing.assert_array_equal(edited[0][~masked], resized[0][~masked])
    levels = np.round(255 * digits).astype(np.uint8)
    pil = [Image.fromarray(image).convert("RGB") for image in levels]
    nothing = Image.new("RGBA", (8, 8), "black")
    np.testing.assert_array_equal(model.edit(pil, nothing, 3), levels / np.float32(255))
    dot = Image.new("RGB", (8, 8))
    dot.putpixel((5, 1), (0, 0, 9))
    box = model.edit(levels, (1, 5, 1, 1), 3, **SAMPLING)
    np.testing.assert_array_equal(model.edit(levels, dot, 3, **SAMPLING), box)


def test_a_token_is_free_where_any_pixel_of_its_patch_is_masked():
    shades = np.arange(0, 250, 50, dtype=np.uint8)
    codes = np.broadcast_to(shades[:, None, None, None], (5, 4, 4, 3))
    codec = PatchCodec(np.ascontiguousarray(codes), image_size=12)
    images = np.random.default_rng(0).random((2, 12, 12, 3), np.float32)
    mask = np.zeros((12, 12), bool)
    mask[3:5, 8] = True
    kind = Conditioning(condition=no_condition(), denoiser={})
    original = kind.read_original(codec, images, mask)
    assert original.free.reshape(3, 3).astype(int).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    rows = original.rows(5, noised=True)
    assert np.all(rows["known"][:, [2, 5]] == 5)
    np.testing.assert_array_equal(rows["start"], original.tokens)
    made = kind.present(codec, np.zeros((3, 9), np.int32), original=original)
    np.testing.assert_array_equal(made[2][~mask], images[0][~mask])
    assert np.all(made[:, mask] == 0)


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (None, {"strength": 0}, "strength = 0 must be in (0, 1]"),
        (None, {"strength": 1.5}, "strength = 1.5 must be in (0, 1]"),
        (None, {"strength": float("nan")}, "strength = nan must be in (0, 1]"),
        (None, {"strength": "half"}, "strength = 'half' must be in (0, 1]"),
        ((2, 2, 0, 3), {}, "mask = (2, 2, 0, 3) is an empty box"),
        ((2, 2, 7, 3), {}, "that leaves the image of 8 x 8 pixels"),
        ((-1, 2, 3, 3), {}, "that leaves the image of 8 x 8 pixels"),
        (np.ones((8, 9), bool), {}, "mask must be booleans of the image's 8 x 8 pixels"),
        (np.ones((8, 8)), {}, "or a box (top, left, height, width), got float64 of shape (8, 8)"),
        ("mask.png", {}, "mask must be booleans"),
        ((2, 2), {}, "mask must be booleans"),
        (None, {"guidance": 2.0}, "guidance = 2.0 needs a model that was trained without"),
        (None, {"num_samples": 1}, "num_samples = 1 must be at least 2, one for each of data"),
        (None, {"num_steps": 9}, "num_steps = 9 must be in 1..T = 1..8"),
        (None, {"output": "jpeg"}, "output = 'jpeg' must be"),
        (None, {"step": 9}, "step is not an option of sampling"),
    ],
)
def test_a_wrong_edit_is_named(model, digits, mask, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model.edit(digits, mask, 3, **options)


def test_data_of_another_kind_are_named(model, digits):
    for data, message in (
        (digits[0, 0], "data must be one image [height width] or a batch, got the shape (8,)"),
        (digits[..., None].repeat(3, -1), "or a batch, got the shape (2, 8, 8, 3)"),
        (digits[:0], "got the shape (0, 8, 8)"),
        ([digits[0], digits[0, :4]], "data: the images of a batch must be of one size"),
        (255 * digits, "data holds values 0..255; images have 0..1, or bytes"),
        (digits * np.nan, "data holds a value that is not finite"),
        ("x.png", "data must be one image"),
        (digits[0][..., None].repeat(3, -1), "as an image in colour, and the model's are grey"),
        (Image.fromarray(digits[0]), "a PIL image of mode F has no known range; give bytes, or"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            model.edit(data, None, 3)
