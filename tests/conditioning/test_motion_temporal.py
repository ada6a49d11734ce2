"""The motion encoder that keeps time: its tokens, what they see and what they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.motion_temporal import make_temporal_motion, velocities

MEAN, STD = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.1, 0.0])


def small(**changes):
    options = {"num_features": 3, "fps": 60.0, "frames": 24, "group": 6, "width": 16}
    options |= {"num_layers": 1, "num_heads": 2, "mean": MEAN, "std": STD}
    return make_temporal_motion(**options | changes)


@pytest.fixture(scope="module")
def encoder():
    """Return the encoder, its parameters and some motion."""
    made = small()
    motion = MEAN[None, None] + STD[None, None] * np.random.default_rng(0).normal(size=(2, 24, 3))
    return made, made.init(jax.random.key(0)), motion.astype(np.float32)


def without_blocks(params):
    """Return parameters whose blocks add nothing: each token is its own frames' alone."""
    blocks = dict(params["blocks"])
    for name in ("out", "contract"):
        blocks[name] = jax.tree.map(jnp.zeros_like, blocks[name])
    return params | {"blocks": blocks}


def test_tokens_stand_in_the_middle_of_their_frames(encoder):
    made, params, motion = encoder
    assert jax.jit(made.apply)(params, motion).shape == (2, 4, 16)
    # Frames 0..5 of 60 per second last from 0 to 0.1 s.
    np.testing.assert_allclose(made.seconds, [0.05, 0.15, 0.25, 0.35])


def test_a_token_is_made_of_its_frames_and_the_blocks_join_them(encoder):
    made, params, motion = encoder
    moved = motion.copy()
    moved[0, 13] += 1.0  # the velocity of frame 14 changes too, in the same token
    for blocks, changed in ((without_blocks(params), {2}), (params, {0, 1, 2, 3})):
        apply = jax.jit(lambda motion, blocks=blocks: made.apply(blocks, motion))
        difference = np.abs(np.asarray(apply(moved) - apply(motion)))
        assert set(np.flatnonzero(difference[0].max(axis=1) > 1e-6)) == changed
        assert difference[1].max() == 0


def test_equal_frames_at_other_times_give_other_tokens(encoder):
    made, params, motion = encoder
    still = np.broadcast_to(motion[:, :1], motion.shape)
    tokens = np.asarray(jax.jit(made.apply)(without_blocks(params), still))
    gaps = np.abs(tokens[0, :, None] - tokens[0, None]).max(axis=-1)
    assert gaps[np.triu_indices(4, 1)].min() > 0.05


def test_motion_is_standardised(encoder):
    made, params, motion = encoder
    scaled = small(mean=MEAN * 3 + 1, std=STD * 3, frames=24)
    apply = jax.jit(made.apply)(params, motion)
    np.testing.assert_allclose(
        jax.jit(scaled.apply)(params, motion * 3 + 1), apply, rtol=1e-3, atol=1e-3
    )
    assert np.isfinite(apply).all()


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_a_swing_with_two_beats_a_second_moves_as_much_as_it_is_large(fps):
    time = np.arange(int(4 * fps)) / fps
    swing = jnp.asarray(np.sin(2 * np.pi * 2 * time), jnp.float32)[None, :, None]
    slow = jnp.asarray(np.sin(2 * np.pi * time), jnp.float32)[None, :, None]
    assert abs(velocities(swing, fps).std() / swing.std() - 1) < 0.02
    assert abs(velocities(slow, fps).std() / slow.std() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": 7}, "group = 7 must divide the 24 frames"),
        ({"group": 0}, "group = 0 must be at least 1"),
        ({"fps": 0.0}, "fps = 0.0 must be above 0"),
        ({"width": 3, "num_heads": 1}, "width = 3 must be even"),
        ({"num_heads": 3}, "width = 16 must be a multiple of num_heads = 3"),
        ({"mean": np.zeros(4)}, r"mean must be 3 finite numbers, .* got the shape \(4,\)"),
        ({"std": np.array([1, np.nan, 1])}, "std must be 3 finite numbers"),
        ({"std": np.array([1, -1, 1])}, "std = -1.* may not be negative"),
        ({"compute_dtype": "float8"}, 'compute_dtype = "float8" must be one of'),
    ],
)
def test_what_cannot_be_built_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_a_motion_of_another_shape_is_refused(encoder):
    made, params, motion = encoder
    with pytest.raises(ValueError, match=r"24 frames of 3 features, but its shape is \(2, 23, 3\)"):
        jax.eval_shape(made.apply, params, motion[:, :23])
