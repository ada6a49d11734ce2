"""The codec of patches: nearest codes exactly, its file, and what is refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.codec_file import FORMAT, load_vqgan, write_arrays
from cdcd_jax.codecs.patch_search import PatchSearch, cut_patches
from cdcd_jax.codecs.patches import PatchCodec, fit_patch_codec, load_patches, save_patches


def random_images(count, size, seed=0, levels=256):
    draw = np.random.default_rng(seed).integers(0, levels, (count, size, size, 3))
    return (draw * (255 // (levels - 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def codec():
    return fit_patch_codec(random_images(40, 8), patch_size=4, num_codes=12)


def test_it_is_a_codec(codec):
    assert isinstance(codec, Codec)
    assert (codec.vocab_size, codec.grid, codec.image_size) == (12, (2, 2), 8)
    images = random_images(5, 8, seed=1)
    tokens = codec.encode(images)
    assert tokens.shape == (5, 4)
    assert tokens.dtype == np.int32
    decoded = codec.decode(tokens)
    assert decoded.shape == (5, 8, 8, 3)
    assert decoded.dtype == np.float32
    assert 0 <= decoded.min() < decoded.max() <= 1


@pytest.mark.parametrize("patch_size", [1, 4, 10, 16])
def test_the_nearest_code_is_found_exactly(patch_size):
    rng = np.random.default_rng(patch_size)
    dim = 3 * patch_size**2
    # Extremes, and codes that differ by one level in one number, so that a rounding would show.
    codes = rng.choice(np.array([0, 1, 254, 255], np.uint8), (40, dim))
    codes[20:] = codes[:20]
    codes[np.arange(20, 40), rng.integers(0, dim, 20)] ^= 1
    patches = np.concatenate([codes, rng.choice(np.array([0, 255], np.uint8), (60, dim))])
    apart = (patches[:, None].astype(int) - codes[None].astype(int)) ** 2
    search = PatchSearch(codes)
    np.testing.assert_array_equal(search.nearest(patches), apart.sum(axis=2).argmin(axis=1))
    np.testing.assert_array_equal(search.squared_distances(patches), apart.sum(axis=2).min(axis=1))


def test_patches_go_back_to_their_places():
    images = random_images(2, 6, seed=3)
    codes = cut_patches(images, 3).reshape(-1, 3, 3, 3)
    codec = PatchCodec(codes, image_size=6)
    tokens = codec.encode(images)
    assert tokens.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(np.round(codec.decode(tokens) * 255), images)
    np.testing.assert_array_equal(codes[1], images[0, :3, 3:])


def test_a_decoded_image_gives_its_tokens_again(codec):
    tokens = np.random.default_rng(0).integers(0, 12, (9, 4)).astype(np.int32)
    made = np.round(codec.decode(tokens) * 255).astype(np.uint8)
    np.testing.assert_array_equal(codec.encode(made), tokens)


def test_batches_change_nothing(codec):
    images = random_images(7, 8, seed=2)
    small = PatchCodec(codec.codes, image_size=8, batch_size=3)
    np.testing.assert_array_equal(small.encode(images), codec.encode(images))
    assert small.fingerprint == codec.fingerprint
    assert codec.encode(images[:0]).shape == (0, 4)
    assert codec.decode(np.zeros((0, 4), np.int32)).shape == (0, 8, 8, 3)


def test_the_fit_follows_from_the_seed(codec):
    images = random_images(40, 8)
    again = fit_patch_codec(images, patch_size=4, num_codes=12)
    other = fit_patch_codec(images, patch_size=4, num_codes=12, seed=1)
    assert again.fingerprint == codec.fingerprint != other.fingerprint
    assert PatchCodec(codec.codes, image_size=16).fingerprint != codec.fingerprint


def test_the_paper_takes_one_code():
    images = np.full((50, 8, 8, 3), 255, np.uint8)
    images[:10, :2, :2] = random_images(10, 2)
    codec = fit_patch_codec(images, patch_size=2, num_codes=11)
    np.testing.assert_array_equal(np.round(codec.decode(codec.encode(images)) * 255), images)


def test_codes_that_rounding_makes_alike_are_replaced():
    # All patches are within one level of each other, so that most centres round to the same.
    images = random_images(60, 4, levels=2) // 255 + 100
    codec = fit_patch_codec(images.astype(np.uint8), patch_size=2, num_codes=40)
    assert len(np.unique(codec.codes, axis=0)) == codec.vocab_size == 40


def test_there_and_back(tmp_path, codec):
    path = tmp_path / "new" / "codec.safetensors"
    save_patches(path, codec)
    again = load_patches(path, batch_size=5)
    assert again.fingerprint == codec.fingerprint
    assert again.batch_size == 5
    assert [file.name for file in path.parent.iterdir()] == ["codec.safetensors"]


def test_what_is_no_codec_of_patches_is_named(tmp_path, codec):
    good, bad = tmp_path / "good", tmp_path / "bad"
    save_patches(good, codec)
    with pytest.raises(
        ValueError, match=r'good is a codec of the kind "patches", not "vqgan"; set'
    ):
        load_vqgan(good)

    def refused(message):
        with pytest.raises(ValueError, match=message):
            load_patches(bad)

    bad.write_bytes(good.read_bytes()[:-10])
    refused("bad is not a complete safetensors file")
    save_file({"codes": codec.codes}, bad)
    refused("bad is not a codec of this package")
    write_arrays(bad, {"codes": codec.codes}, {"format": FORMAT})
    refused('bad is a codec of the kind "vqgan", not "patches"')
    described = {"format": "cdcd_jax patches 1", "image_size": "8"}
    for codes in (codec.codes[..., :2], codec.codes.astype(np.float32), codec.codes[0]):
        write_arrays(bad, {"codes": np.ascontiguousarray(codes)}, described)
        refused("bad is damaged")
    write_arrays(bad, {"codes": codec.codes}, described | {"image_size": "9"})
    refused("bad cannot be used: patch_size = 4 must divide image_size = 9")
    with pytest.raises(FileNotFoundError, match="no file"):
        load_patches(tmp_path / "nowhere")


def test_mistakes_are_named(codec):
    images = random_images(1, 8)
    for options, message in (
        ({"patch_size": 3}, "patch_size = 3 must divide image_size = 8"),
        ({"num_codes": 5}, "num_codes = 5 must be from 2 to 4, as many as the images have"),
        ({"num_codes": 1}, "num_codes = 1 must be from 2"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_patch_codec(images, **{"patch_size": 4, "num_codes": 4} | options)
    for call, message in (
        (lambda: codec.encode(random_images(1, 4)), "must be 8 x 8 RGB"),
        (lambda: codec.decode(np.zeros((1, 3), int)), "2 x 2 tokens, got 3"),
        (lambda: codec.decode(np.full((1, 4), 12)), r"values 0..11, got 12..12"),
        (lambda: PatchCodec(codec.codes[[0, 0]], image_size=8), "no two of them alike"),
        (lambda: PatchCodec(codec.codes, image_size=8, batch_size=0), "batch_size = 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
