"""The published music codec's names: every one is known, and what does not fit is named."""

import json

import jax
import numpy as np
import pytest

from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.interop.jukebox import jukebox_from_state_dict, jukebox_to_state_dict
from tests.support.golden_files import find_golden
from tests.support.published_jukebox import names_and_shapes, template


def test_every_published_name_and_shape_has_its_place():
    published = json.loads(find_golden("state_dict_keys.json").read_text())["keys"]
    theirs = next(keys for name, keys in published.items() if name.startswith("jukebox_vqvae"))
    ours = names_and_shapes(make_jukebox())
    assert {name: list(shape) for name, shape in ours.items()} == {
        name: shape for name, (shape, _) in theirs.items()
    }


@pytest.fixture(scope="module")
def small():
    jukebox = make_jukebox(
        **{"downs": (2, 1), "strides": (2, 4), "multipliers": (1, 2), "width": 2, "depth": 1},
        code_dim=3,
        num_codes=5,
    )
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), template(jukebox))
    return jukebox, jax.tree.map(np.float32, params)


def test_there_and_back(small):
    jukebox, params = small
    again = jukebox_from_state_dict(jukebox_to_state_dict(params), template(jukebox))
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_what_does_not_fit_is_named(small):
    jukebox, params = small
    state = jukebox_to_state_dict(params)
    key = "decoders.1.level_blocks.0.model.1.1.weight"
    assert state[key].shape == (4, 4, 4)

    def load(state):
        return jukebox_from_state_dict(state, template(jukebox))

    with pytest.raises(ValueError, match=f"has no {key}, which the codec needs"):
        load({name: array for name, array in state.items() if name != key})
    with pytest.raises(ValueError, match=rf"{key} has the shape \(4, 2, 4\).*needs \(4, 4, 4\)"):
        load(state | {key: state[key][:, :2]})
    with pytest.raises(ValueError, match=r"1 arrays that the codec has no place for.*extra\.k"):
        load(state | {"extra.k": np.zeros(1)})
