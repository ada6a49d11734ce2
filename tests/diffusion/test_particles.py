"""Sequential Monte Carlo against the tilted joint distribution, by brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax as cdcd
from cdcd_jax.diffusion.particles import sample_particles

K, LENGTH = 3, 2
STATES = np.array(list(itertools.product(range(K), repeat=LENGTH)))
JOINT = np.random.default_rng(0).dirichlet(np.full(len(STATES), 0.7))
REWARD = np.random.default_rng(1).normal(0.0, 1.5, len(STATES))
TILTED = JOINT * np.exp(REWARD) / np.sum(JOINT * np.exp(REWARD))


def optimal_denoiser(zt, t, cond):
    """Return log p(z0 | zt) of each position under JOINT, of an absorbing process."""
    states, joint = jnp.asarray(STATES), jnp.asarray(JOINT)
    fits = jnp.all((zt[:, None] == K) | (zt[:, None] == states[None]), axis=-1)
    weights = jnp.where(fits, joint[None], 0.0)
    one_hot = jax.nn.one_hot(states, K)
    p = jnp.einsum("bs,slk->blk", weights, one_hot)
    return jnp.log(p / jnp.sum(p, axis=-1, keepdims=True) + 1e-30)


def reward(z0):
    return jnp.asarray(REWARD, jnp.float32)[z0[:, 0] * K + z0[:, 1]]


def frequencies(found):
    index = np.asarray(found.tokens[..., 0] * K + found.tokens[..., 1])
    weights = np.exp(np.float64(found.log_weights))
    return np.bincount(index.ravel(), weights.ravel(), len(STATES)) / len(index)


@pytest.mark.parametrize("min_ess", [0.0, 0.5, 1.0])
def test_many_particles_are_the_tilted_distribution(min_ess):
    # One token at a time is exact; fine steps rarely reveal two at once.
    schedule = cdcd.absorbing_schedule(num_steps=40, vocab_size=K)
    found = sample_particles(
        jax.random.key(3), schedule, optimal_denoiser, None, reward,
        shape=(20, LENGTH), num_particles=500, min_ess=min_ess,
    )  # fmt: skip
    assert 0.5 * np.abs(frequencies(found) - TILTED).sum() < 0.03
    assert 0.5 * np.abs(JOINT - TILTED).sum() > 0.25  # so far are the samples without the reward


@pytest.mark.parametrize("worst", [-50.0, -1e9, -np.inf])
def test_what_a_prediction_rules_out_may_yet_come_true(worst):
    """Hard constraints: no number of particles helps where resampling has ended them for good."""
    rewards = np.where(STATES.sum(-1) % 2 == 1, REWARD, worst)
    tilted = JOINT * np.exp(rewards) / np.sum(JOINT * np.exp(rewards))
    table = jnp.asarray(rewards, jnp.float32)
    schedule = cdcd.absorbing_schedule(num_steps=40, vocab_size=K)
    found = sample_particles(
        jax.random.key(4), schedule, optimal_denoiser, None,
        lambda z0: table[z0[:, 0] * K + z0[:, 1]], shape=(20, LENGTH), num_particles=4000,
    )  # fmt: skip
    assert 0.5 * np.abs(frequencies(found) - tilted).sum() < 0.03


def test_a_reward_that_is_nan_gives_masks():
    schedule = cdcd.absorbing_schedule(num_steps=4, vocab_size=K)
    found = sample_particles(
        jax.random.key(3), schedule, optimal_denoiser, None,
        lambda z0: jnp.where(jnp.arange(8) < 4, jnp.nan, 0.0), shape=(2, LENGTH), num_particles=4,
    )  # fmt: skip
    assert (found.tokens[0] == K).all()
    assert (found.tokens[1] < K).all()


def test_a_scale_of_0_is_plain_sampling():
    schedule = cdcd.absorbing_schedule(num_steps=40, vocab_size=K)
    found = sample_particles(
        jax.random.key(3), schedule, optimal_denoiser, None, reward,
        shape=(20, LENGTH), num_particles=500, scale=0.0,
    )  # fmt: skip
    assert 0.5 * np.abs(frequencies(found) - JOINT).sum() < 0.03
    np.testing.assert_allclose(np.exp(found.log_weights), 2e-3, rtol=1e-4)


def test_each_example_has_its_own_condition_and_particles():
    schedule = cdcd.absorbing_schedule(num_steps=4, vocab_size=K)
    certain = lambda zt, t, cond: jnp.log(jax.nn.one_hot(cond, K) + 1e-9)  # noqa: E731
    cond = jnp.array([[0, 1], [2, 2]])
    found = sample_particles(
        jax.random.key(0), schedule, certain, cond, reward, shape=(2, 2), num_particles=5
    )
    np.testing.assert_array_equal(found.tokens, np.repeat(cond[:, None], 5, axis=1))
    np.testing.assert_array_equal(found.choose(jax.random.key(1)), cond)


def test_a_reward_of_another_shape_is_refused():
    schedule = cdcd.absorbing_schedule(num_steps=4, vocab_size=K)
    with pytest.raises(ValueError, match="one number for each of 8 rows, got shape"):
        sample_particles(
            jax.random.key(0), schedule, optimal_denoiser, None, lambda z0: z0.sum(),
            shape=(2, 2), num_particles=4,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": float("nan")}, "scale = nan must be finite"),
        ({"min_ess": 5.0}, r"min_ess = 5\.0 must be in 0\.\.1"),
        ({"corrector": "gibbs"}, "corrector is not an option here"),
    ],
)
def test_bad_options_are_named(options, message):
    schedule = cdcd.absorbing_schedule(num_steps=4, vocab_size=K)
    with pytest.raises(ValueError, match=message):
        sample_particles(
            jax.random.key(0), schedule, optimal_denoiser, None, reward,
            shape=(2, 2), num_particles=4, **options,
        )  # fmt: skip
