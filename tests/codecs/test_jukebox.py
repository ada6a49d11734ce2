"""Jukebox's codec against the published code's numbers, and what its options promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.jukebox import JukeboxOptions, make_jukebox
from cdcd_jax.codecs.jukebox_layers import Lengthen, Shorten
from cdcd_jax.nn import Conv
from tests.support.published_jukebox import load_golden_jukebox

slow = pytest.mark.slow
CASES = [
    ("mult2_1lvl", 0),
    pytest.param("small_3lvl", 0, marks=slow),
    ("small_3lvl", 1),
    pytest.param("small_3lvl", 2, marks=slow),
    pytest.param("real_procedural", 0, marks=slow),
    pytest.param("real_procedural", 1, marks=slow),
    ("real_procedural", 2),
]


@pytest.mark.parametrize(("case", "level"), CASES)
def test_features_codes_and_sound_are_the_published_codes(golden, case, level):
    """Sums over thousands of terms in another order: 1e-5 of the largest value may differ."""
    file = golden(f"jukebox_vqvae/{case}.npz")
    jukebox, params = load_golden_jukebox(case, file)
    features = jax.jit(lambda p, x: jukebox.encode(p, x, level))(params, file["x"][..., 0])
    wanted = file[f"pre_quant_l{level}"].transpose(0, 2, 1)
    np.testing.assert_allclose(features, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())

    indices = np.asarray(jukebox.indices(params, features, level))
    clear = file[f"margin_l{level}"] > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(indices[clear], file[f"codes_l{level}"][clear])

    codes = jnp.asarray(file[f"codes_l{level}"], jnp.int32)
    decode = jax.jit(lambda p, c: jukebox.decode(p, jukebox.lookup(p, c, level), level))
    wanted = file[f"decoded_l{level}"][..., 0]
    np.testing.assert_allclose(
        decode(params, codes), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max()
    )


def layer(module, *, seed=0):
    """Fill a layer with numbers; return it with its kernel and bias."""
    random = np.random.default_rng(seed)
    module.kernel[...] = jnp.asarray(random.normal(size=module.kernel.shape), jnp.float32)
    module.bias[...] = jnp.asarray(random.normal(size=module.bias.shape), jnp.float32)
    return module, np.float64(module.kernel[...]), np.float64(module.bias[...])


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (3, 1), (3, 4)])
def test_a_convolution_is_the_sum_it_says(size, dilation):
    module, kernel, bias = layer(Conv(2, 3, (size,), dilation=dilation))
    x = np.random.default_rng(1).normal(size=(2, 9, 2))
    wanted = np.zeros((2, 9, 3)) + bias
    for place in range(9):
        for tap in range(size):
            seen = place + (tap - size // 2) * dilation
            if 0 <= seen < 9:
                wanted[:, place] += x[:, seen] @ kernel[tap]
    np.testing.assert_allclose(module(jnp.float32(x)), wanted, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 4])
def test_lengthening_is_the_transpose_of_shortening(stride):
    """<y, short(x)> = <long(y), x> with one kernel and no bias, however the two are computed."""
    shorten, kernel, bias = layer(Shorten(2, 3, stride))
    lengthen, _, _ = layer(Lengthen(3, 2, stride))
    lengthen.kernel[...] = jnp.swapaxes(shorten.kernel[...], 1, 2)
    random = np.random.default_rng(2)
    x, y = random.normal(size=(1, 5 * stride, 2)), random.normal(size=(1, 5, 3))
    short = np.float64(shorten(jnp.float32(x))) - bias
    long = np.float64(lengthen(jnp.float32(y))) - np.float64(lengthen.bias[...])
    assert (short.shape, long.shape) == (y.shape, x.shape)
    np.testing.assert_allclose(np.sum(short * y), np.sum(long * x), atol=1e-4)
    padded = np.pad(x, ((0, 0), (stride // 2, stride // 2), (0, 0)))
    first = sum(padded[0, tap] @ kernel[tap] for tap in range(2 * stride))
    np.testing.assert_allclose(short[0, 0], first, atol=1e-5)


SMALL = {"downs": (1, 1), "strides": (2, 4), "multipliers": (1, 1), "width": 4, "depth": 2}
SMALL |= {"code_dim": 3, "num_codes": 8}


def test_nothing_reaches_further_than_the_context():
    """A change of one token, or of what one token stands for, stays within the context."""
    jukebox, level = make_jukebox(**SMALL), 1
    params, hop = jukebox.init(jax.random.key(0)), jukebox.options.hops[level]
    context = jukebox.options.context(level)
    length = 2 * context + 3
    middle, random = length // 2, np.random.default_rng(0)
    audio = random.normal(size=(1, length * hop)).astype(np.float32)
    other = audio.copy()
    other[:, middle * hop : (middle + 1) * hop] += 1
    both = jax.jit(lambda x: jukebox.encode(params, x, level))(np.concatenate([audio, other]))
    moved = np.flatnonzero(np.abs(both[0] - both[1]).max(axis=1))
    assert middle - context <= moved.min() < middle < moved.max() <= middle + context

    codes = np.stack([both[0], both[0]])
    codes[1, middle] += 1
    sound = jax.jit(lambda c: jukebox.decode(params, c, level))(codes)
    moved = np.flatnonzero(np.abs(sound[0] - sound[1])) // hop
    assert middle - context <= moved.min() < middle < moved.max() <= middle + context


def test_a_start_neither_silences_nor_shouts():
    jukebox = make_jukebox(**SMALL | {"width": 16, "code_dim": 16})

    @jax.jit
    def there_and_back(key):
        params, audio = jukebox.init(key), jax.random.normal(jax.random.fold_in(key, 1), (1, 512))
        features = jukebox.encode(params, audio, 1)
        return features, jukebox.decode(params, features / features.std(), 1)

    for signal in there_and_back(jax.random.key(0)):
        assert 0.5 < signal.std() < 4


def test_only_the_requested_level_is_needed():
    jukebox = make_jukebox(**SMALL)
    params = {"level_1": jukebox.init(jax.random.key(0))["level_1"]}
    features = jax.jit(lambda p, x: jukebox.encode(p, x, 1))(params, jnp.ones((1, 35)))
    assert features.shape == (1, 4, 3)  # three samples fill no token
    with pytest.raises(ValueError, match=r"level = 2 does not exist: the codec has 2, from 0"):
        jukebox.decode(params, features, 2)


def test_half_precision_is_close():
    jukebox, half = make_jukebox(**SMALL), make_jukebox(**SMALL, compute_dtype="bfloat16")
    params = jukebox.init(jax.random.key(0))
    audio = jax.random.normal(jax.random.key(1), (1, 64))
    exact = jax.jit(lambda x: jukebox.encode(params, x, 1))(audio)
    rounded = jax.jit(lambda x: half.encode(params, x, 1))(audio)
    assert rounded.dtype == jnp.float32
    assert 0 < jnp.abs(exact - rounded).max() < 0.05 * jnp.abs(exact).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width = 0 must be at least 1"),
        ({"num_codes": 1}, "num_codes = 1 must be at least 2"),
        ({"downs": ()}, r"downs = \(\) must be one or more"),
        ({"multipliers": (2, 0, 1)}, r"multipliers = \(2, 0, 1\) must be one or more, each >= 1"),
        ({"downs": (3, 2)}, "must have one entry for each level"),
        ({"strides": (2, 3, 2)}, r"strides = \(2, 3, 2\) must be even"),
        ({"compute_dtype": "int8"}, 'compute_dtype = "int8" must be one of'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        JukeboxOptions(**options)
