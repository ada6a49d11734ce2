"""Steps of a batch that are spread evenly over their distribution."""

import jax
import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from cdcd_jax.diffusion.timesteps import (
    TimestepStats,
    init_timestep_stats,
    sample_timesteps,
    timestep_probs,
)

STATS = TimestepStats(second_moment=jnp.array([1.0, 4.0, 0.25, 9.0, 0.0]), count=jnp.full(5, 100.0))


def test_every_example_keeps_its_probabilities():
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.vmap(lambda key: sample_timesteps(key, STATS, 6, stratified=True))
    t, p_t = draw(keys)
    probs = np.asarray(timestep_probs(STATS))
    for example in (0, 5):  # alone, each is drawn as without the others
        counts = np.bincount(np.asarray(t[:, example]), minlength=6)[1:]
        expected = probs * len(keys)
        chi_square = np.sum((counts - expected)[expected > 5] ** 2 / expected[expected > 5])
        assert chi_square < 22.5  # 3 to 4 degrees of freedom; exceeded once in 5,000 times
    np.testing.assert_allclose(p_t, probs[np.asarray(t) - 1], rtol=1e-6)


def test_a_batch_holds_every_step_in_its_proportion():
    t, p_t = sample_timesteps(jax.random.key(1), init_timestep_stats(10), 40, stratified=True)
    np.testing.assert_array_equal(np.bincount(np.asarray(t))[1:], np.full(10, 4))
    np.testing.assert_allclose(p_t, 0.1, rtol=1e-6)
    assert np.any(np.diff(np.asarray(t)) < 0)  # rows are not in the order of their steps


def test_the_loss_has_less_variance_and_the_same_mean():
    schedule = cdcd.absorbing_schedule(num_steps=20, vocab_size=8)
    z0 = jax.random.randint(jax.random.key(0), (16, 12), 0, 8)
    denoise_fn = lambda zt, t, cond: jnp.zeros((*zt.shape, 8))  # noqa: E731

    def losses(stratified):
        keys = jax.random.split(jax.random.key(3), 400)
        loss_fn = cdcd.make_loss(schedule, aux_weight=1.0, stratified_timesteps=stratified)
        return np.asarray(
            jax.vmap(lambda key: loss_fn(key, denoise_fn, z0, None)[0].loss)(keys), np.float64
        )

    each, spread = losses(False), losses(True)
    error = np.sqrt((each.var() + spread.var()) / len(each))
    assert abs(each.mean() - spread.mean()) < 4 * error
    assert spread.var() < 0.7 * each.var()
