import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_schedule import SCHEDULES

import cdcd_jax as cdcd
from cdcd_jax.diffusion.bound import prior_kl
from cdcd_jax.diffusion.terms import step_terms
from tests.support.oracles import exact_denoiser, kl, model_posterior, posterior

NUM_STEPS, VOCAB = 6, 4
EXACT = {"published": 1e-8, "uniform": 1e-11, "absorbing": 1e-12}


def cases(schedule):
    """Every (z0, zt, s, t) that the forward process can produce."""
    for t in range(1, NUM_STEPS + 1):
        for s in range(t):
            for zt in range(VOCAB + 1):
                for z0 in range(VOCAB):
                    possible = zt in (VOCAB, z0) or schedule.beta_bar[t] > 0
                    possible &= not (zt == z0 and schedule.alpha_bar[t] + schedule.beta_bar[t] == 0)
                    if possible:
                        yield z0, zt, s, t


@pytest.mark.parametrize(("name", "make"), SCHEDULES.items(), ids=SCHEDULES)
def test_posterior_is_bayes_rule(name, make):
    schedule = make(NUM_STEPS, VOCAB)
    rows = np.array(list(cases(schedule)))
    with jax.enable_x64(True):
        z0, zt, s, t = (jnp.asarray(column) for column in rows.T)
        log_q = cdcd.log_q_posterior(schedule, z0[:, None], zt[:, None], s, t)
        ours = np.exp(np.asarray(log_q))[:, 0]
    for row, one in zip(rows, ours, strict=True):
        np.testing.assert_allclose(one, posterior(schedule, *row), rtol=EXACT[name], atol=1e-15)


@pytest.mark.parametrize(("name", "make"), SCHEDULES.items(), ids=SCHEDULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_model_posterior_is_the_mixture(name, make, seed):
    """p(zs | zt) = sum over z0 of q(zs | zt, z0) p(z0 | zt), for near and far steps."""
    schedule = make(NUM_STEPS, VOCAB)
    rows = np.array([row for row in cases(schedule) if row[0] == 0 or row[1] < VOCAB])
    p0 = np.random.default_rng(seed).dirichlet(np.full(VOCAB, 0.3), size=len(rows)) + 1e-12
    if name == "absorbing":  # only one clean token is consistent with a visible one
        visible = rows[:, 1] < VOCAB
        p0[visible] = np.eye(VOCAB)[rows[visible, 1]] + 1e-300
    p0 /= p0.sum(axis=1, keepdims=True)
    with jax.enable_x64(True):
        _, zt, s, t = (jnp.asarray(column) for column in rows.T)
        log_p = cdcd.log_posterior(schedule, jnp.log(p0)[:, None], zt[:, None], s, t)
        ours = np.exp(np.asarray(log_p))[:, 0]
    np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-9)
    for row, p, one in zip(rows, p0, ours, strict=True):
        if name == "absorbing" and row[1] < VOCAB:
            expected = np.eye(VOCAB + 1)[row[1]]
        else:
            expected = model_posterior(schedule, p, *row[1:])
        np.testing.assert_allclose(one, expected, rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize(("name", "make"), SCHEDULES.items(), ids=SCHEDULES)
def test_closed_form_kl_is_brute_force(name, make):
    """KL over K+1 classes from matrices, for the true z0 and for any other clean token."""
    schedule = make(NUM_STEPS, VOCAB)
    rows = np.array([row for row in cases(schedule) if row[2] == row[3] - 1])
    p0 = np.random.default_rng(0).dirichlet(np.full(VOCAB, 0.5), size=len(rows)) + 1e-9
    p0 /= p0.sum(axis=1, keepdims=True)
    with jax.enable_x64(True):
        z0, zt, _, t = (jnp.asarray(column) for column in rows.T)
        found, nll = step_terms(schedule, jnp.log(p0)[:, None], z0[:, None, None], zt[:, None], t)
        found, nll = np.asarray(found)[:, 0, 0], np.asarray(nll)[:, 0, 0]
    for (z0, zt, s, t), p, one, likelihood in zip(rows, p0, found, nll, strict=True):
        carried = name == "absorbing" and zt < VOCAB
        q = posterior(schedule, z0, zt, s, t)
        expected = 0.0 if carried else kl(q, model_posterior(schedule, p, zt, s, t))
        np.testing.assert_allclose(one, expected, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(likelihood, -np.log(p[z0]), rtol=1e-12)
        if t == 1 and not carried:
            np.testing.assert_allclose(one, likelihood, rtol=1e-8)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_prior_term(make):
    schedule = make(NUM_STEPS, VOCAB)
    q = np.full(VOCAB + 1, schedule.beta_bar[-1])
    q[0] += schedule.alpha_bar[-1]
    q[-1] = schedule.gamma_bar[-1]
    prior = np.append(np.full(VOCAB, schedule.keep_bar[-1] / VOCAB), schedule.gamma_bar[-1])
    with jax.enable_x64(True):
        np.testing.assert_allclose(float(prior_kl(schedule)), kl(q, prior), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("final_uniform", [0.0, 1e-6, 0.1, 0.38, 0.9])
@pytest.mark.parametrize("vocab_size", [2, 97, 2887])
def test_prior_term_is_not_negative_in_float32(final_uniform, vocab_size):
    """Terms of either sign cancel in it, down to -6e-9 where they are added up as they stand."""
    schedule = cdcd.mask_replace_schedule(
        num_steps=80, vocab_size=vocab_size, final_uniform=final_uniform, first_uniform=0.0
    )
    alpha, beta, keep = (
        np.asarray(table[-1], np.float64)
        for table in (schedule.alpha_bar, schedule.beta_bar, schedule.keep_bar)
    )
    q = np.full(vocab_size, beta)
    q[0] += alpha
    found = float(prior_kl(schedule))
    assert found >= 0
    expected = kl(q, np.full(vocab_size, keep / vocab_size))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_bound_of_the_exact_network_is_the_entropy(make):
    """With the true p(z0 | zt) of independent tokens, every term is an expectation that sums to
    -log p(z0): the bound is tight in the mean up to the gap between reverse steps, and never below
    the entropy."""
    weights = jnp.array([0.5, 0.25, 0.125, 0.125])
    schedule = make(60, VOCAB)

    z0 = jax.random.choice(jax.random.key(0), VOCAB, (4000, 16), p=weights)
    nats = cdcd.evaluate_bound(
        jax.random.key(1), schedule, exact_denoiser(schedule, weights), z0, None
    )
    entropy = float(-jnp.sum(weights * jnp.log(weights)))
    found = float(jnp.mean(nats)) / 16
    assert entropy - 0.01 < found < entropy + 0.03


@pytest.mark.parametrize(
    ("vocab_size", "published", "absorbing"), [(16, 9.0, 4.0), (1024, 21, 9.9)]
)
def test_a_uniform_guess_pays_for_visible_tokens_unless_they_are_carried_over(
    vocab_size, published, absorbing
):
    """The figures that docs/architecture.md explains."""

    def guess(zt, t, cond):
        return jnp.zeros((*zt.shape, vocab_size))

    z0 = jax.random.randint(jax.random.key(0), (16, 100), 0, vocab_size)
    for make, expected in (
        (cdcd.mask_replace_schedule, published),
        (cdcd.absorbing_schedule, absorbing),
    ):
        schedule = make(num_steps=10, vocab_size=vocab_size)
        nats = cdcd.evaluate_bound(jax.random.key(1), schedule, guess, z0, None)
        bits = float(jnp.mean(nats)) / (100 * np.log(2))
        assert bits == pytest.approx(expected, abs=0.1)
