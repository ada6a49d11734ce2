"""A dance as a condition: one published token, or tokens with times; parts left out; no dance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.condition import drop_condition
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.typing import Timed
from tests.support.published_motion import draw_named, draw_params, template

REFERENCE = {"num_features": 6, "frames": 4, "hidden": 40, "channels": (3,), "out": 5}
TEMPORAL = {"num_features": 6, "fps": 4.0, "frames": 8, "group": 4, "num_layers": 1,
            "num_heads": 1, "mean": np.zeros(6), "std": np.ones(6)}  # fmt: skip
OPTIONS = {"encoder": "temporal", "motion": TEMPORAL, "num_genres": 3, "video_features": 7,
           "video_steps": 2, "seconds": 2.0, "width": 8}  # fmt: skip


def make(**changes):
    return dance_condition(**OPTIONS | changes)


def draw_cond(frames, batch=3):
    random = np.random.default_rng(0)
    return {
        "motion": random.normal(size=(batch, frames, 6)).astype(np.float32),
        "video": random.normal(size=(batch, 2, 7)).astype(np.float32),
        "genre": np.arange(batch, dtype=np.int32) % 3,
    }


@pytest.mark.parametrize("name", ["aist", "tiktok"])
def test_golden_token_of_joined_parts(golden, name):
    data = golden("motion_encoder/conditioning_assembly.npz")
    genres, join = (10, "lin1") if name == "aist" else (0, "lin2")
    condition = dance_condition(
        encoder="reference", motion=None, num_genres=genres, video_features=1024 + 2048,
        video_steps=1, seconds=2.0, width=1024, null=None,
    )  # fmt: skip
    features = 1024 + 2048 + (256 if genres else 0)
    kernel = draw_named(f"{join}.weight", (1024, features), 750)
    bias = draw_named(f"{join}.bias", (1024,), 750)
    params = {"join": {"kernel": kernel.T, "bias": bias}}
    # Motion and video are beside each other, so their tokens together are as one.
    cond = {"video": np.concatenate([data["motion"], data["video"]], axis=2)}
    if genres:
        params["genre"] = {"embedding": data["genre_table"]}
        cond["genre"] = data["genre_onehot"].argmax(axis=1).astype(np.int32)
    token = jax.jit(condition.encode)(params, cond)
    np.testing.assert_allclose(token, data[f"cond_{name}"], rtol=1e-5, atol=1e-5)
    assert condition.null is None


def test_the_parts_are_joined_in_the_published_order():
    condition = make(encoder="reference", motion=REFERENCE, genre_width=4)
    params = draw_params(condition)
    cond = draw_cond(4)
    encode = jax.jit(condition.encode)
    token = encode(params, cond)
    assert token.shape == (3, 1, 8)
    for name, rows in (("motion", slice(0, 5)), ("video", slice(5, 12)), ("genre", slice(12, 16))):
        kernel = np.zeros((16, 8), np.float32)
        kernel[rows] = params["join"]["kernel"][rows]
        alone = params | {"join": {"kernel": kernel, "bias": np.zeros(8, np.float32)}}
        changed = encode(alone, cond | {name: np.roll(cond[name], 1, axis=0)})
        np.testing.assert_allclose(changed, np.roll(encode(alone, cond), 1, axis=0), atol=1e-5)
        assert np.abs(changed - encode(alone, cond)).max() > 1e-2


def test_tokens_have_the_times_of_their_parts():
    condition = make()
    shapes = template(condition)
    shape = (3, 5, 8)
    assert jax.eval_shape(condition.encode, shapes, draw_cond(8)).features.shape == shape
    seconds = condition.null({"null": np.zeros((5, 8), np.float32)}, 3).seconds
    # Two groups of four frames at 4 per second, two steps of a video of 2 s, a genre.
    np.testing.assert_array_equal(seconds, [[0.5, 1.5, 0.5, 1.5, np.nan]] * 3)


@pytest.mark.parametrize("used", [("motion",), ("video",), ("genre",), ("motion", "genre")])
def test_parts_may_be_left_out(used):
    nothing = {"motion": None, "video_features": None, "num_genres": 0}
    keys = {"motion": "motion", "video": "video_features", "genre": "num_genres"}
    changes = {key: nothing[key] for name, key in keys.items() if name not in used}
    condition = make(**changes)
    cond = {name: part for name, part in draw_cond(8).items() if name in used}
    shapes = template(condition)
    assert set(shapes) == {*used, "null"}
    found = jax.eval_shape(condition.encode, shapes, cond)
    tokens = sum({"motion": 2, "video": 2, "genre": 1}[name] for name in used)
    assert found.features.shape == (3, tokens, 8)
    assert found.seconds.shape == (3, tokens)


@pytest.mark.parametrize("encoder", ["temporal", "reference"])
def test_no_dance_takes_the_place_of_one_and_keeps_its_times(encoder):
    motion = TEMPORAL if encoder == "temporal" else REFERENCE
    condition = make(encoder=encoder, motion=motion)
    params = draw_params(condition)

    def some_left_out(cond):
        conditioned = condition.encode(params, cond)
        dropped = jax.random.bernoulli(jax.random.key(1), 0.5, (8,))
        return conditioned, drop_condition(dropped, conditioned, condition.null(params, 8))

    cond = draw_cond(motion["frames"], batch=8)
    conditioned, left = jax.jit(some_left_out)(cond)
    nothing = condition.null(params, 8)
    assert jax.tree.structure(conditioned) == jax.tree.structure(nothing)
    if isinstance(conditioned, Timed):
        np.testing.assert_array_equal(left.seconds, conditioned.seconds)
        np.testing.assert_array_equal(nothing.seconds, conditioned.seconds)
        conditioned, left, nothing = conditioned.features, left.features, nothing.features
    lost = np.array([np.array_equal(a, b) for a, b in zip(left, nothing, strict=True)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(left, conditioned, strict=True)])
    assert 0 < lost.sum() < 8
    np.testing.assert_array_equal(lost, ~kept)


def test_a_genre_that_is_none_is_not_another():
    condition = make(motion=None, video_features=None)
    params = draw_params(condition)
    features, _ = jax.jit(condition.encode)(params, {"genre": jnp.array([0, 3, -1])})
    np.testing.assert_array_equal(np.isnan(features).all(axis=(1, 2)), [False, True, True])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "spatial"}, 'encoder = "spatial" must be one of "temporal", "reference"'),
        ({"null": "empty"}, 'null = "empty" must be "learned" for a dance'),
        ({"motion": None, "video_features": None, "num_genres": 0}, "needs its motion, its video"),
        ({"video_features": 0}, "video_features = 0 must be at least 1"),
        ({"video_steps": 0}, "video_steps = 0 must be at least 1"),
        ({"num_genres": -1}, "num_genres = -1 may not be negative"),
        ({"seconds": 0.0}, "seconds = 0.0 must be above 0"),
        ({"motion": TEMPORAL | {"group": 3}}, "group = 3 must divide the 8 frames"),
    ],
)
def test_what_cannot_be_built_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_what_is_no_such_dance_is_named():
    condition = make()
    shapes = template(condition)
    cond = draw_cond(8)

    def refused(cond, message):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(condition.encode, shapes, cond)

    refused({k: v for k, v in cond.items() if k != "genre"}, 'the condition needs "genre"')
    refused(cond | {"text": 1}, 'does not know "text"; it takes .*genre.*motion.*video')
    refused(cond["motion"], 'the condition needs "genre"')
    refused(cond | {"video": cond["video"][:, :1]}, r"video must have the shape \(3, 2, 7\)")
    refused(cond | {"genre": cond["genre"][:2]}, r"genre must have the shape \(3,\), but it is")
