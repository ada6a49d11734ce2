import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_schedule import SCHEDULES

import cdcd_jax as cdcd
from cdcd_jax.diffusion.samplers.draws import exponential, sample_reverse
from cdcd_jax.diffusion.samplers.filters import apply_temperature, keep_top_k, truncate
from tests.support.oracles import exact_denoiser, posterior

VOCAB = 4
WEIGHTS = jnp.array([0.6, 0.25, 0.1, 0.05])


@pytest.mark.parametrize(("name", "make"), SCHEDULES.items(), ids=SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 5])
def test_exact_network_samples_the_data(name, make, num_steps):
    """Any number of exact steps gives the data distribution, within five sigma."""
    schedule = make(12, VOCAB)
    draw = functools.partial(
        cdcd.sample, schedule=schedule, denoise_fn=exact_denoiser(schedule, WEIGHTS), cond=None
    )
    shape = (200, 100)
    tokens = jax.jit(lambda key: draw(key, shape=shape, num_steps=num_steps))(jax.random.key(0))
    frequency = np.bincount(np.asarray(tokens).ravel(), minlength=VOCAB + 1) / tokens.size
    sigma = np.sqrt(WEIGHTS * (1 - WEIGHTS) / tokens.size)
    assert frequency[VOCAB] == 0
    assert np.all(np.abs(frequency[:VOCAB] - WEIGHTS) < 5 * sigma + 2e-5)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("s", "t"), [(4, 5), (2, 9), (0, 12)])
def test_reverse_draws_follow_the_posterior(make, s, t):
    schedule = make(12, VOCAB)
    count = 20_000
    for zt in (0, VOCAB):
        if schedule.alpha_bar[t] + schedule.beta_bar[t] == 0 and zt < VOCAB:
            continue
        state = jnp.full((count, 1), zt)
        p0 = np.array([0.7, 0.2, 0.1, 0.0])
        if schedule.beta_bar[t] == 0 and zt < VOCAB:
            p0 = np.eye(VOCAB)[zt]
        log_p0 = jnp.broadcast_to(jnp.log(jnp.asarray(p0, jnp.float32)), (count, 1, VOCAB))
        steps = jnp.full(count, s), jnp.full(count, t)
        zs = np.asarray(sample_reverse(jax.random.key(1), schedule, log_p0, state, *steps))
        frequency = np.bincount(zs.ravel(), minlength=VOCAB + 1) / count
        expected = sum(p0[z0] * posterior(schedule, z0, zt, s, t) for z0 in np.flatnonzero(p0))
        sigma = np.sqrt(expected * (1 - expected) / count)
        assert np.all(np.abs(frequency - expected) < 5 * sigma + 1e-7)


@pytest.mark.slow
@pytest.mark.much_computation
def test_rare_tokens_are_drawn_as_often_as_they_should():
    """Noise that ends at 16 would draw about a twentieth of these 1,023 tokens of exp(-17)."""
    rare, num_tokens = 4e-8, 1024
    schedule = cdcd.absorbing_schedule(num_steps=1, vocab_size=num_tokens)
    log_p0 = jnp.log(jnp.full(num_tokens, rare).at[0].set(1.0 - (num_tokens - 1) * rare))
    shape = (64, 1024)
    zeros, ones = jnp.zeros(shape[0], jnp.int32), jnp.ones(shape[0], jnp.int32)

    @jax.jit
    def count(key):
        spread = jnp.broadcast_to(log_p0[None, None], (*shape, num_tokens))
        zt = jnp.full(shape, num_tokens)
        return jnp.sum(sample_reverse(key, schedule, spread, zt, zeros, ones) != 0)

    rounds = 6
    found = sum(int(count(key)) for key in jax.random.split(jax.random.key(0), rounds))
    expected = rounds * shape[0] * shape[1] * (num_tokens - 1) * rare  # 16
    assert abs(found - expected) < 3 * np.sqrt(expected)


def test_noise_is_exponential_in_its_smallest_values_too():
    noise = np.concatenate(
        [exponential(key, (1 << 22,)) for key in jax.random.split(jax.random.key(0), 8)]
    ).astype(np.float64)
    assert noise.min() > 0
    np.testing.assert_allclose(noise.mean(), 1.0, atol=5 / np.sqrt(noise.size))
    for threshold in (1e-6, 1e-4, 2.0**-7, 0.1, 1.0, 5.0):
        expected = noise.size * -np.expm1(-threshold)
        assert abs(np.sum(noise < threshold) - expected) < 5 * np.sqrt(expected)
    # 24 bits would leave no values between 0 and 6e-8, and 8 rounds of 4 million find some.
    assert len(np.unique(noise[noise < 5e-7])) > 10


def sorted_truncation(p, r):
    """Keep ranks j with the mass of the ranks before j below r: a sort, for unequal values."""
    order = np.argsort(-p, axis=-1)
    ranked = np.take_along_axis(p, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    kept = np.zeros_like(p, dtype=bool)
    np.put_along_axis(kept, order, before < r, axis=-1)
    return kept


@pytest.mark.parametrize("r", [0.1, 0.5, 0.86, 0.999])
def test_truncation_is_the_sorted_one(r):
    p = np.random.default_rng(0).dirichlet(np.full(300, 0.1), size=(5, 7)) + 1e-9
    p /= p.sum(axis=-1, keepdims=True)
    ours = np.asarray(truncate(jnp.log(jnp.asarray(p, jnp.float32)), r))
    kept = sorted_truncation(p, r)
    disagree = np.isfinite(ours) != kept
    # float32 sums may put a token whose cumulative mass is r to seven digits on the other side.
    assert disagree.sum(axis=-1).max() <= 1
    assert disagree.mean() < 1e-3
    np.testing.assert_allclose(np.exp(ours).sum(axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("r", [0.3, 0.86])
def test_truncation_tells_neighbours_apart(r):
    """All tokens are within 2e-4 of each other: the search must not end between two of them."""
    p = np.arange(200.0, 0.0, -1.0)[None, None] * 1e-6 + 1.0
    p = jnp.asarray(p / p.sum(), jnp.float32)
    for filtered, kept in (
        (truncate(jnp.log(p), r), round(200 * r)),
        (keep_top_k(jnp.log(p), 37), 37),
    ):
        found = np.isfinite(filtered)[0, 0]
        assert abs(int(found.sum()) - kept) <= 1
        assert np.all(found[: found.sum()])


def test_top_k_and_temperature():
    p = np.random.default_rng(1).dirichlet(np.ones(50), size=(3, 4))
    log_p = jnp.log(jnp.asarray(p, jnp.float32))
    kept = np.isfinite(keep_top_k(log_p, 5))
    assert np.all(kept.sum(axis=-1) == 5)
    assert np.all(np.where(kept, p, 1).min(axis=-1) > np.where(kept, 0, p).max(axis=-1))
    assert np.argmax(apply_temperature(log_p, 1e-30)) == np.argmax(log_p)  # nothing overflows
    cold = np.exp(apply_temperature(log_p, 0.5))
    np.testing.assert_allclose(cold, p**2 / (p**2).sum(-1, keepdims=True), rtol=1e-4)


def test_trajectory_and_frozen_masks():
    """The trajectory starts all masked, ends in the tokens, and never masks a token again."""
    schedule = cdcd.absorbing_schedule(num_steps=20, vocab_size=VOCAB)
    tokens, states = cdcd.sample(
        jax.random.key(0),
        schedule,
        exact_denoiser(schedule, WEIGHTS),
        None,
        shape=(3, 50),
        num_steps=10,
        return_trajectory=True,
    )
    assert states.shape == (11, 3, 50)
    assert np.all(states[0] == schedule.mask_id)
    np.testing.assert_array_equal(states[-1], tokens)
    for before, after in itertools.pairwise(states):
        visible = np.asarray(before) != schedule.mask_id
        np.testing.assert_array_equal(np.asarray(after)[visible], np.asarray(before)[visible])
    shares = np.asarray(states == schedule.mask_id).mean(axis=(1, 2))
    np.testing.assert_allclose(shares, np.linspace(1, 0, 11), atol=0.2)


@pytest.mark.parametrize("num_steps", [1, 7, 30, 79, 80])
def test_strided_steps_are_spread_over_all(num_steps):
    schedule = cdcd.mask_replace_schedule(num_steps=80, vocab_size=VOCAB)
    times = cdcd.make_sampler(
        schedule, exact_denoiser(schedule, WEIGHTS), num_steps=num_steps
    ).times
    assert (times[0], times[-1], len(times)) == (80, 0, num_steps + 1)
    gaps = -np.diff(times)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number, at least 1, got 0"),
        ({"num_steps": 13}, "num_steps must be between 1 and the 12 steps"),
        ({"truncation": 0.0}, "truncation must be in"),
        ({"truncation": 1.5}, "truncation must be in"),
        ({"top_k": 0}, "top_k must be a whole number, at least 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_bad_options_are_named(options, message):
    schedule = cdcd.absorbing_schedule(num_steps=12, vocab_size=VOCAB)
    with pytest.raises(ValueError, match=message):
        cdcd.sample(
            jax.random.key(0),
            schedule,
            exact_denoiser(schedule, WEIGHTS),
            None,
            shape=(1, 2),
            **options,
        )


def test_around_known_tokens_the_others_follow_their_conditional():
    """Of two tokens the second is known in half of the examples; the network knows their joint."""
    schedule = cdcd.absorbing_schedule(num_steps=6, vocab_size=2)
    joint = jnp.array([[0.6, 0.1], [0.1, 0.2]])  # symmetric

    def denoise_fn(zt, t, cond):
        beside = jnp.take(joint, jnp.minimum(zt[:, ::-1], 1), axis=0)  # [batch 2 K]
        unknown = jnp.broadcast_to(joint.sum(0), beside.shape)
        likely = jnp.where((zt[:, ::-1] == schedule.mask_id)[..., None], unknown, beside)
        return jnp.log(likely / likely.sum(-1, keepdims=True))

    count = 4000
    known = jnp.full((2 * count, 2), schedule.mask_id).at[:count, 1].set(1)
    tokens, states = jax.jit(
        lambda key: cdcd.sample(
            key, schedule, denoise_fn, None, shape=known.shape, known=known, return_trajectory=True
        )
    )(jax.random.key(0))
    assert (states[:, :count, 1] == 1).all()
    assert (states[0] == known).all()
    for rows, expected in ((tokens[:count], 0.2 / 0.3), (tokens[count:], 0.3)):
        share = float((rows[:, 0] == 1).mean())
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / count)


JOINT = np.array([[0.4, 0.02, 0.08], [0.02, 0.2, 0.03], [0.08, 0.03, 0.14]])


def pair_denoiser(schedule):
    """Return p(z0 | zt) by Bayes' rule for two tokens that depend on each other."""

    def denoise_fn(zt, t, cond):
        alpha, beta = (
            jnp.asarray(x)[t][:, None, None] for x in (schedule.alpha_bar, schedule.beta_bar)
        )
        visible = alpha * jax.nn.one_hot(zt, 3) + beta
        likely = jnp.where((zt == schedule.mask_id)[..., None], 1.0, visible)  # [batch 2 K]
        joint = JOINT[None] * likely[:, 0, :, None] * likely[:, 1, None, :]
        return jnp.log(jnp.stack([joint.sum(2), joint.sum(1)], axis=1))

    return denoise_fn


def test_noise_that_replaces_is_undone_from_its_own_prior():
    """With 38% replaced at T, zT, every state and z0 have the right distribution."""
    schedule = cdcd.mask_replace_schedule(num_steps=40, vocab_size=3, final_uniform=0.38)
    count = 20_000
    tokens, states = jax.jit(
        lambda key: cdcd.sample(
            key, schedule, pair_denoiser(schedule), None, shape=(count, 2), return_trajectory=True
        )
    )(jax.random.key(0))
    shares = np.asarray(states == schedule.mask_id).mean(axis=(1, 2))
    np.testing.assert_allclose(shares, schedule.gamma_bar[::-1], atol=5 * 0.5 / np.sqrt(2 * count))
    start = np.bincount(np.asarray(states[0]).ravel(), minlength=4) / (2 * count)
    expected = np.append(np.full(3, schedule.keep_bar[-1] / 3), schedule.gamma_bar[-1])
    np.testing.assert_allclose(start, expected, atol=5 * 0.5 / np.sqrt(2 * count))
    marginal = np.bincount(np.asarray(tokens).ravel(), minlength=3) / (2 * count)
    np.testing.assert_allclose(marginal, JOINT.sum(0), atol=5 * 0.5 / np.sqrt(2 * count))
    pairs = np.bincount(np.asarray(3 * tokens[:, 0] + tokens[:, 1]), minlength=9) / count
    # Two tokens that change in the same one of 40 steps do so independently.
    np.testing.assert_allclose(pairs.reshape(3, 3), JOINT, atol=0.02)
