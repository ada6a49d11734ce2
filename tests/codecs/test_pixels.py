import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.data.toy.digits import GRID, VOCAB_SIZE, load_digits


def test_the_digits_survive_the_round_trip():
    codec = PixelCodec(vocab_size=VOCAB_SIZE, grid=GRID)
    tokens = load_digits("test").tokens
    images = codec.decode(tokens)
    assert images.shape == (382, 8, 8)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    np.testing.assert_array_equal(codec.encode(images), tokens)
    np.testing.assert_allclose(images[0, 2], tokens[0, 16:24] / 16)  # rows come one after another


@settings(deadline=None)  # every new shape compiles
@given(vocab_size=st.integers(2, 300), height=st.integers(1, 4), width=st.integers(1, 4))
def test_every_level_survives_at_any_size(vocab_size, height, width):
    codec = PixelCodec(vocab_size=vocab_size, grid=(height, width))
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocab_size, (3, height * width), np.int32)
    np.testing.assert_array_equal(codec.encode(codec.decode(tokens)), tokens)


def test_values_between_levels_round_and_values_outside_clip():
    codec = PixelCodec(vocab_size=5, grid=(1, 4))
    images = np.array([[[-0.3, 0.3, 0.4, 1.7]]], np.float32)
    assert codec.encode(images).tolist() == [[0, 1, 2, 4]]


def test_it_is_a_codec_and_works_under_jit():
    codec = PixelCodec(vocab_size=17, grid=(2, 2))
    assert isinstance(codec, Codec)
    tokens = jax.numpy.array([[0, 5, 16, 3]], jax.numpy.int32)
    again = jax.jit(lambda tokens: codec.encode(codec.decode(tokens)))(tokens)
    np.testing.assert_array_equal(again, tokens)


def test_wrong_sizes_are_named():
    codec = PixelCodec(vocab_size=17, grid=(2, 3))
    with pytest.raises(ValueError, match="2 x 3 pixels has 6 tokens, got 5"):
        codec.decode(np.zeros((1, 5), np.int32))
    with pytest.raises(ValueError, match=r"\(2, 3\) pixels, got \(3, 2\)"):
        codec.encode(np.zeros((1, 3, 2), np.float32))
    with pytest.raises(ValueError, match="at least 2 grey levels, got 1"):
        PixelCodec(vocab_size=1, grid=(2, 3))
    with pytest.raises(ValueError, match="grid must be a height and a width"):
        PixelCodec(vocab_size=2, grid=(0, 3))
