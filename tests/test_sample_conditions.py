"""One seed under several conditions, and what is between two of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.tiny_generator import tiny_generator

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)))


@pytest.fixture(scope="module")
def generator():
    """Make a model whose class matters for the first half of the positions."""

    def denoise(params, zt, t, cond):
        of_class = jnp.arange(zt.shape[1])[None] < zt.shape[1] // 2
        return LOGITS[jnp.where(of_class, cond[:, None], 0)]

    names = ("a", "b")
    return tiny_generator(denoise, vocab_size=4, length=8, num_steps=4, class_names=names)


def test_one_seed_has_the_same_noise_under_another_condition(generator):
    options = {"num_samples": 20, "seed": 3, "output": "tokens"}
    a, b = (generator.sample(name, **options) for name in ("a", "b"))
    np.testing.assert_array_equal(a[:, 4:], b[:, 4:])
    assert 0.1 < np.mean(a[:, :4] != b[:, :4]) < 0.9
    before = generator.decode(np.zeros((1, 8), np.int32))
    mask = np.arange(8)[None] % 4 < 2
    a, b = (generator.edit(before, mask, name, **options) for name in ("a", "b"))
    free = mask[0]
    np.testing.assert_array_equal(a[:, 4:], b[:, 4:])
    assert np.any(a[:, :4] != b[:, :4])
    assert np.all(a[:, ~free] == 0)
    assert np.all(b[:, ~free] == 0)


def test_a_guidance_below_1_is_between_two_conditions(generator):
    options = {"num_samples": 2000, "seed": 3, "output": "tokens"}
    between = generator.sample("a", negative="b", guidance=0.5, **options)
    wanted = jax.nn.softmax(LOGITS.mean(axis=0))
    found = np.bincount(between[:, :4].ravel(), minlength=4) / between[:, :4].size
    assert 0.5 * np.abs(found - wanted).sum() < 0.02
    for label in range(2):
        assert 0.5 * np.abs(jax.nn.softmax(LOGITS[label]) - wanted).sum() > 0.05
    end = generator.sample("a", negative="b", guidance=0.0, **options)
    np.testing.assert_array_equal(end, generator.sample("b", **options))
