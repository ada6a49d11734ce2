"""The published motion encoder against numbers of the published code, and what it is told."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.motion_reference import make_reference_motion
from cdcd_jax.interop.motion import motion_from_reference
from tests.support.published_motion import REAL, draw_motion_weights, template

REDUCED = {
    "aist_reduced": {"num_features": 20, "frames": 36, "channels": (16, 16, 24)},
    # Published: a motion is reshaped whatever it was; here 12 frames of 40 become 24 of 20.
    "tiktok_reduced": {"num_features": 20, "frames": 24, "channels": (16, 20, 24)},
}


@pytest.mark.parametrize("name", REDUCED)
def test_golden_token(golden, name):
    data = golden(f"motion_encoder/{name}.npz")
    encoder = make_reference_motion(**REDUCED[name], hidden=100, out=40)
    state = {key[3:]: data[key] for key in data if key.startswith("sd/")}
    params = motion_from_reference(state, template(encoder))
    motion = data["x"].reshape(2, REDUCED[name]["frames"], 20)
    token = jax.jit(encoder.apply)(params, motion)
    assert token.shape == (2, 1, 40)
    np.testing.assert_allclose(token, data["y_f64"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["tiktok", pytest.param("aist2s", marks=pytest.mark.slow)])
def test_golden_token_at_published_sizes(golden, name):
    data = golden(f"motion_encoder/{name}_real_procedural.npz")
    encoder = make_reference_motion(**REAL[name])
    state = draw_motion_weights(encoder, base=707)
    params = motion_from_reference(state, template(encoder))
    token = jax.jit(encoder.apply)(params, data["x"])
    np.testing.assert_allclose(token, data["y_f64"], rtol=1e-5, atol=1e-5)


def small(**changes):
    options = {"num_features": 6, "frames": 4, "hidden": 40, "channels": (3, 5), "out": 8}
    return make_reference_motion(**options | changes)


def test_new_weights_learn_and_neither_drown_nor_blow_up_the_motion():
    encoder = small(hidden=60, frames=60, channels=(16, 16))
    params = encoder.init(jax.random.key(0))
    motion = jax.random.normal(jax.random.key(1), (4, 60, 6))

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def total(params):
        tokens = encoder.apply(params, motion)
        return jnp.sum(jnp.sin(tokens)), tokens

    (value, tokens), gradients = total(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    assert 0.1 < jnp.std(tokens, axis=0).mean() < 10
    # A kernel's direction has no scale of its own.
    blocks = params["stages"]["0"]["blocks"]["2"]
    layer = blocks["dilated"]
    blocks["dilated"] = layer | {"direction": 7.0 * layer["direction"]}
    np.testing.assert_allclose(total(params)[0][0], value, rtol=1e-4, atol=1e-4)
    blocks["dilated"] = layer | {"length": 7.0 * layer["length"]}
    assert abs(total(params)[0][0] - value) > 1e-2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "frames = 0 must be at least 1"),
        ({"channels": (4, 0)}, r"channels\[1\] = 0 must be at least 1"),
        ({"channels": ()}, "channels must name one stage"),
        ({"hidden": 35}, "hidden = 35 is too small: .* leave 27"),
    ],
)
def test_what_cannot_be_built_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_a_motion_of_another_length_is_refused():
    encoder = small()
    with pytest.raises(ValueError, match=r"4 frames of 6 features, but its shape is \(2, 5, 6\)"):
        jax.eval_shape(encoder.apply, template(encoder), jnp.zeros((2, 5, 6)))
