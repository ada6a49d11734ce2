import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_schedule import SCHEDULES

import cdcd_jax as cdcd
from cdcd_jax.diffusion.transitions import rates_between
from tests.support.oracles import jump_matrix

NUM_STEPS, VOCAB = 7, 4


def all_pairs():
    pairs = [(s, t) for t in range(1, NUM_STEPS + 1) for s in range(t)]
    return tuple(np.array(side) for side in zip(*pairs, strict=True))


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_jumps_are_products_of_steps(make):
    schedule = make(NUM_STEPS, VOCAB)
    s, t = all_pairs()
    with jax.enable_x64(True):
        alpha, beta, gamma = (
            np.asarray(x) for x in rates_between(schedule, jnp.array(s), jnp.array(t))
        )
    for i in range(len(s)):
        matrix = jump_matrix(schedule, s[i], t[i])
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(gamma[i], matrix[0, VOCAB], rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(beta[i], matrix[0, 1], rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(alpha[i] + beta[i], matrix[0, 0], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_float32_jumps_keep_their_digits(make):
    """No cancellation: 1 - alpha - gamma taken in float32 would be wrong in its first digit."""
    schedule = make(80, 2887)
    s = jnp.array([0, 1, 10, 40, 70, 78])
    t = jnp.array([40, 3, 20, 80, 75, 80])
    single = rates_between(schedule, s, t)
    with jax.enable_x64(True):
        double = rates_between(schedule, jnp.asarray(np.asarray(s)), jnp.asarray(np.asarray(t)))
        double = [np.asarray(x) for x in double]
    for one, two in zip(single, double, strict=True):
        np.testing.assert_allclose(np.asarray(one), two, rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_log_q_is_the_matrix_row(make):
    schedule = make(NUM_STEPS, VOCAB)
    s, t = all_pairs()
    zs = jnp.tile(jnp.arange(VOCAB + 1), (len(s), 1))
    q = np.exp(cdcd.log_q(schedule, zs, jnp.array(s), jnp.array(t)))
    for i in range(len(s)):
        np.testing.assert_allclose(q[i], jump_matrix(schedule, s[i], t[i]), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("s", "t"), [(0, 4), (2, 3), (1, 7)])
def test_sample_frequencies(make, s, t):
    """Empirical frequencies of every transition agree with the matrix within five sigma."""
    schedule = make(NUM_STEPS, VOCAB)
    count = 40_000
    zs = jnp.tile(jnp.arange(VOCAB + 1), (count, 1))
    steps = jnp.full(count, s), jnp.full(count, t)
    zt = np.asarray(cdcd.q_sample(jax.random.key(3), schedule, zs, steps[1], steps[0]))
    expected = jump_matrix(schedule, s, t)
    for start in range(VOCAB + 1):
        frequency = np.bincount(zt[:, start], minlength=VOCAB + 1) / count
        sigma = np.sqrt(expected[start] * (1 - expected[start]) / count)
        assert np.all(np.abs(frequency - expected[start]) <= 5 * sigma + 1e-12)


def test_rare_events_are_resolved():
    """A share of 1e-6 is drawn as often as it should be; float32 uniforms would be 10% off."""
    schedule = cdcd.mask_replace_schedule(num_steps=1000, vocab_size=2)
    length = 4096
    draw = jax.jit(
        lambda key: jnp.sum(
            cdcd.q_sample(key, schedule, jnp.zeros((2048, length), jnp.int32), jnp.full(2048, 1))
            != 0
        )
    )
    count = sum(int(draw(key)) for key in jax.random.split(jax.random.key(0), 3))
    total = 3 * 2048 * length
    # Masked with 9e-6, replaced by the other of two tokens with half of 1e-6.
    expected = total * 9.5e-6
    assert abs(count - expected) < 5 * np.sqrt(expected)
