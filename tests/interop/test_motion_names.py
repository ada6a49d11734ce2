"""The published motion encoder's names: every one has its place, and what does not fit is named."""

import jax
import numpy as np
import pytest

from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.conditioning.motion_reference import make_reference_motion
from cdcd_jax.interop.motion import (
    MOTION,
    dance_from_reference,
    describe_dance,
    motion_from_reference,
    motion_to_reference,
)
from tests.support.music_files import KEYS, NAMES
from tests.support.published_files import random_like, template

AIST = {"num_features": 219, "frames": 360, "hidden": 800, "channels": (512, 512, 1024),
        "out": 1024}  # fmt: skip
PUBLISHED = {
    "aist": {"motion": AIST, "num_genres": 10, "genre_width": 256},
    "tiktok": {
        "motion": AIST | {"num_features": 75, "frames": 60, "channels": (256, 512, 1024)},
        "num_genres": 0,
        "genre_width": 0,
    },
}


def empty(shape):
    """An array that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


@pytest.fixture(scope="module", params=NAMES)
def published(request):
    """Return the case and the arrays of its condition, at published sizes."""
    keys = KEYS[f"{request.param}.yaml model"]
    join = "lin1." if request.param == "aist" else "lin2."
    inner = ("condition_emb.", join)
    state = {key: empty(keys[key][0]) for key in keys if key.startswith(MOTION)}
    for key, (shape, _) in keys.items():
        if key.removeprefix("transformer.").startswith(inner):
            state[key.removeprefix("transformer.")] = empty(shape)
    return request.param, state


def test_every_published_name_and_shape_has_its_place(published):
    name, state = published
    options = describe_dance(state)
    assert options.items() >= (PUBLISHED[name] | {"video_features": 2048, "width": 1024}).items()
    condition = dance_condition(**options, seconds=2.0, null=None)
    params = dance_from_reference(state, template(condition))
    assert jax.tree.structure(params) == jax.tree.structure(template(condition))
    ours = motion_to_reference(params["motion"])
    theirs = {key.removeprefix(MOTION): a.shape for key, a in state.items() if MOTION in key}
    assert {key: array.shape for key, array in ours.items()} == theirs


@pytest.fixture(scope="module")
def small():
    """Return the shapes of a small encoder and its arrays by the published names."""
    encoder = make_reference_motion(num_features=3, frames=4, hidden=40, channels=(2, 5, 3), out=6)
    params = random_like(template(encoder), 0)
    return params, motion_to_reference(params)


def test_there_and_back(small):
    params, state = small
    back = motion_from_reference(state, params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_what_does_not_fit_is_named(small):
    params, state = small
    without = {key: array for key, array in state.items() if key != "model.9.block.4.weight_g"}
    with pytest.raises(ValueError, match=r"has no model.9.block.4.weight_g, which"):
        motion_from_reference(without, params)
    with pytest.raises(ValueError, match=r"1 arrays that the motion encoder .* as x"):
        motion_from_reference(state | {"x": np.zeros(1)}, params)
    with pytest.raises(ValueError, match=r"lin1.bias has the shape \(7,\), but .* needs \(40,\)"):
        motion_from_reference(state | {"lin1.bias": np.zeros(7)}, params)


def test_sizes_that_contradict_each_other_are_named(published):
    name, state = published
    join = "lin1.weight" if name == "aist" else "lin2.weight"
    with pytest.raises(ValueError, match=f"a.pth has {join} for 900 features, fewer than the 1024"):
        describe_dance(state | {join: empty((1024, 900))}, "a.pth")
    without = {key: array for key, array in state.items() if key != f"{MOTION}model.13.weight"}
    with pytest.raises(ValueError, match=r"has no condition_codec_motion.model.13.weight, which a"):
        describe_dance(without)
