"""The published denoisers' names: every one is known, and what does not fit is named."""

import json

import jax
import numpy as np
import pytest

from cdcd_jax.interop import denoiser_from_reference, denoiser_to_reference
from cdcd_jax.models import make_denoiser
from tests.support.golden_files import find_golden
from tests.support.published_denoiser import PUBLISHED, template

DENOISER = ("content_emb.", "blocks.", "to_logits.")
PREFIXES = {"model": "transformer.transformer.", "ema": "transformer."}


def empty(shape):
    """An array that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


@pytest.fixture(scope="module")
def published_keys():
    return json.loads(find_golden("state_dict_keys.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(published_keys, name):
    params = template(make_denoiser(**PUBLISHED[name]))
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert count == published_keys["param_counts"][name]["denoiser"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_name_and_shape_has_its_place(published_keys, name):
    params = template(make_denoiser(**PUBLISHED[name]))
    ours = denoiser_to_reference(jax.tree.map(lambda leaf: empty(leaf.shape), params))
    for part, prefix in PREFIXES.items():
        keys = published_keys["keys"][f"{name}.yaml {part}"]
        theirs = {
            key.removeprefix(prefix)
            for key in keys
            if key.startswith(tuple(prefix + root for root in DENOISER))
        }
        assert {key for key in theirs if not key.endswith("attn2.mask")} == set(ours)
        if isinstance(keys, dict):
            for key, array in ours.items():
                assert list(array.shape) == keys[prefix + key][0], key


@pytest.fixture
def small():
    network = make_denoiser(
        vocab_size=5, num_steps=3, grid=(2, 2), num_layers=2, width=8, num_heads=2, mlp_ratio=2,
        condition="cross", cond_dim=4,
    )  # fmt: skip
    return network, network.init(jax.random.key(0))


def test_there_and_back(small):
    network, params = small
    state = denoiser_to_reference(params, prefix="transformer.")
    state |= {"transformer.blocks.0.attn2.mask": np.ones(1), "log_at": np.ones(3)}
    again = denoiser_from_reference(state, template(network))
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_what_does_not_fit_is_named(small):
    network, params = small
    state = denoiser_to_reference(params)

    def load(state, **more):
        return denoiser_from_reference(state, template(network), **more)

    key = "blocks.1.attn2.value.weight"
    with pytest.raises(ValueError, match=f"has no {key}, which"):
        load({name: array for name, array in state.items() if name != key})
    with pytest.raises(ValueError, match=rf"{key} has the shape \(8, 3\), .* needs \(8, 4\)"):
        load(state | {key: np.zeros((8, 3))})
    with pytest.raises(ValueError, match=r"1 arrays .* no place for, such as blocks.2.ln2.bias"):
        load(state | {"blocks.2.ln2.bias": np.zeros(8)})
    with pytest.raises(ValueError, match="holds no denoiser"):
        load({})
    double = state | denoiser_to_reference(params, prefix="ema.")
    with pytest.raises(ValueError, match=r"several denoisers; choose a prefix of \['', 'ema.'\]"):
        load(double)
    load(double, prefix="ema.")
