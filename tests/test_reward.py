"""Samples and edits that follow a reward have the tilted distribution of a known joint."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.tiny_generator import tiny_generator

K, ROWS = 3, 3000
STATES = np.array([*itertools.product(range(K), repeat=2)])
JOINT = np.random.default_rng(0).dirichlet(np.full(K**2, 0.7))
APART = np.outer(*np.random.default_rng(2).dirichlet(np.ones(K), 2)).ravel()
TABLE = jnp.asarray(np.random.default_rng(1).normal(0.0, 1.5, (K, K)), jnp.float32)
WEIGHTS = jnp.asarray([0.0, 1.0, -1.0])


def any_reward(x):
    """Return a reward of both tokens together, [samples 2 K] -> [samples]."""
    return jnp.einsum("bi,bj,ij->b", x[:, 0], x[:, 1], TABLE)


def sum_reward(x):
    return (x @ WEIGHTS).sum(-1)


def tilt(joint, reward):
    one_hot = jax.nn.one_hot(jnp.asarray(STATES), K)
    tilted = joint * np.exp(np.asarray(reward(one_hot), np.float64))
    return tilted / tilted.sum()


def make_generator(joint):
    """Make a model that knows p(z0 | zt) of each position under a joint distribution."""

    def denoise(params, zt, t, cond):
        fits = jnp.all((zt[:, None] == K) | (zt[:, None] == STATES[None]), axis=-1)
        weights = jnp.where(fits, jnp.asarray(joint)[None], 0.0)
        p = jnp.einsum("bs,slk->blk", weights, jax.nn.one_hot(jnp.asarray(STATES), K))
        return jnp.log(p / jnp.sum(p, axis=-1, keepdims=True) + 1e-30)

    return tiny_generator(denoise, vocab_size=K, length=2, num_steps=40)


@pytest.fixture(scope="module")
def generator():
    return make_generator(JOINT)


def frequencies(tokens):
    index = np.asarray(tokens)[:, 0] * K + np.asarray(tokens)[:, 1]
    return np.bincount(index, minlength=K**2) / len(index)


def distance(tokens, wanted):
    return 0.5 * np.abs(frequencies(tokens) - wanted).sum()


def test_particles_have_the_tilted_distribution(generator):
    options = {"num_samples": ROWS, "output": "tokens", "seed": 1}
    tilted = tilt(JOINT, any_reward)
    followed = generator.sample(reward=any_reward, num_particles=24, **options)
    assert distance(followed, tilted) < 0.05
    assert 0.5 * np.abs(JOINT - tilted).sum() > 0.25
    known = np.tile([[2, 0]], (1, 1))
    edited = generator.edit(
        generator.decode(known), np.array([[False, True]]), reward=any_reward, num_particles=24,
        **options,
    )  # fmt: skip
    inside = np.where(STATES[:, 0] == 2, tilted, 0.0)
    assert distance(edited, inside / inside.sum()) < 0.05


def test_the_gradient_is_exact_for_a_sum_over_independent_positions():
    generator, tilted = make_generator(APART), tilt(APART, sum_reward)
    tokens = generator.sample(reward=sum_reward, num_samples=ROWS, output="tokens")
    assert distance(tokens, tilted) < 0.05
    assert 0.5 * np.abs(APART - tilted).sum() > 0.2


@pytest.mark.parametrize("num_particles", [None, 3])
def test_a_reward_that_is_nan_is_named(generator, num_particles):
    with pytest.raises(ValueError, match="the reward is NaN at some tokens, or"):
        generator.sample(
            0, num_samples=2, num_particles=num_particles, reward=lambda x: jnp.nan * x.sum((1, 2))
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_particles": 4}, "num_particles = 4 needs a reward to follow"),
        ({"reward": sum_reward, "num_particles": 0}, "num_particles"),
        ({"reward": sum_reward, "num_particles": 10**7}, "must be at most 10000"),
        ({"reward": lambda x: x.sum()}, "reward must return floats [1], one for each row"),
        ({"reward": lambda x: x.argmax(-1).sum(-1)}, "reward must return floats [1]"),
        (
            {"reward": lambda x: np.asarray(x).sum((1, 2))},
            "reward must be made of JAX's operations",
        ),
        (
            {"reward": sum_reward, "num_particles": 2, "sampler": "confidence"},
            'num_particles needs sampler = "ancestral" without a corrector',
        ),
        (
            {"reward": sum_reward, "num_particles": 2, "corrector": "gibbs"},
            'num_particles needs sampler = "ancestral" without a corrector',
        ),
    ],
)
def test_a_reward_that_cannot_be_followed_is_named(generator, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generator.sample(**options)
