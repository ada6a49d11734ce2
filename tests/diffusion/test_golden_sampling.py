"""The published code's truncation, reverse steps and Gumbel draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax as cdcd
from cdcd_jax.diffusion.samplers import draws, orders
from cdcd_jax.diffusion.samplers.filters import keep_top_k, truncate


@pytest.mark.parametrize("shape", ["flat", "mid", "peaked"])
@pytest.mark.parametrize("rule", ["0.86r", "0.85r", "0.5r", "0.999r", "1p", "5p", "20p"])
def test_truncation_keeps_the_same_tokens(golden, shape, rule):
    data = golden("sampling/truncation.npz")
    log_p = jnp.asarray(np.moveaxis(data[f"{shape}/log_probs"], 1, -1))
    theirs = np.moveaxis(data[f"{shape}/top{rule}"], 1, -1)
    value = float(rule[:-1])
    ours = truncate(log_p, value) if rule[-1] == "r" else keep_top_k(log_p, int(value))
    kept = theirs > -70
    np.testing.assert_array_equal(np.isfinite(ours), kept)
    # Ours is renormalised, theirs is not: the same up to one constant a position.
    mass = np.log(np.exp(theirs).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(np.asarray(ours)[kept], (theirs - mass)[kept], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(np.exp(ours).sum(axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("rule", ["0.86r", "0.75r", "0.5r", "0.25r"])
def test_ties_stay_together(golden, rule):
    """A sort keeps some of several equally likely tokens; we keep all of them or none."""
    data = golden("sampling/truncation.npz")
    log_p = jnp.asarray(np.moveaxis(data["ties/log_probs"], 1, -1))
    ours = np.isfinite(truncate(log_p, float(rule[:-1])))
    theirs = np.moveaxis(data[f"ties/top{rule}"], 1, -1) > -70
    assert np.all(ours.sum(axis=-1) >= data[f"ties/top{rule}_n_kept"])
    p = np.exp(np.asarray(log_p))
    threshold = np.where(ours, p, np.inf).min(axis=-1, keepdims=True)
    np.testing.assert_array_equal(ours, p >= threshold)
    smallest = np.where(theirs, p, np.inf).min(axis=-1, keepdims=True)
    np.testing.assert_allclose(threshold, smallest, rtol=1e-6)


def test_gumbel_argmax(golden):
    """The draw the reference makes from its uniform numbers is ours from the same noise."""
    data = golden("sampling/gumbel_argmax.npz")
    noise = -np.log(-np.log(data["uniform"] + 1e-30) + 1e-30)
    found = np.argmax(data["logits"] + noise, axis=1)
    np.testing.assert_array_equal(found, data["sample"])


def visited(data, prefix, schedule):
    """Yield the reference's reverse steps: the state before, and theirs after as log-probs."""
    tokens = data[f"{prefix}tokens"] if f"{prefix}tokens" in data else data["tokens_per_step"]
    zt = np.full_like(tokens[0], schedule.mask_id)
    for index, after in enumerate(tokens):
        yield index, zt, after
        zt = after


@pytest.mark.parametrize("case", ["T10_skip1", "T10_skip2", "T10_skip3", "T25_skip4"])
@pytest.mark.parametrize("code", ["image", "music"])
def test_strided_steps_of_the_reference(golden, case, code):
    """The reference's fast sampling calls one-step posterior at t-skip with tokens of step t.

    Ours takes the exact posterior of the whole stride. Where the reference's stride is a single
    step (its last), the two are the same; elsewhere they must differ.
    """
    data = golden(f"sampling/fast_{code}.npz")
    num_steps = int(case.split("_")[0][1:])
    schedule = cdcd.mask_replace_schedule(
        num_steps=num_steps, vocab_size=37, denominator=38 if code == "music" else None
    )
    log_p0 = jax.nn.log_softmax(jnp.asarray(np.moveaxis(data[f"{case}/logits"], 1, -1)), axis=-1)
    denoiser_t, posterior_t = data[f"{case}/t_denoiser"], data[f"{case}/t_posterior"]
    targets = [*denoiser_t[1:], -1]
    assert set(np.unique(denoiser_t - posterior_t)) == {0, int(case.split("skip")[1])}
    for index, zt, after in visited(data, f"{case}/", schedule):
        theirs = np.moveaxis(data[f"{case}/log_probs"][index], 1, -1)
        batch = zt.shape[0]

        def probs(s, t, zt=zt, batch=batch):
            steps = jnp.full(batch, s), jnp.full(batch, t)
            return np.exp(cdcd.log_posterior(schedule, log_p0, jnp.asarray(zt), *steps))

        # What the reference computes, said in our terms.
        as_reference = probs(posterior_t[index], posterior_t[index] + 1)
        np.testing.assert_allclose(as_reference, np.exp(theirs), rtol=1e-4, atol=2e-7)
        noise = -np.log(-np.log(np.moveaxis(data[f"{case}/uniform"][index], 1, -1) + 1e-30) + 1e-30)
        np.testing.assert_array_equal(np.argmax(np.log(as_reference) + noise, -1), after)
        # What it should have computed: from the step of zt to the next one visited.
        exact = probs(targets[index] + 1, denoiser_t[index] + 1)
        gap = np.abs(exact - np.exp(theirs)).max()
        assert (gap < 1e-5) == (targets[index] + 1 == denoiser_t[index])


def test_reference_order_of_steps_is_ours(golden):
    """With no skipped steps the sampler visits T, T-1, ..., 0."""
    schedule = cdcd.mask_replace_schedule(num_steps=8, vocab_size=17)
    sampler = cdcd.make_sampler(schedule, lambda zt, t, cond: zt)
    np.testing.assert_array_equal(sampler.times, np.arange(8, -1, -1))


@pytest.mark.parametrize("case", ["T10_skip1", "T10_skip2", "T10_skip3", "T25_skip4"])
@pytest.mark.parametrize("code", ["image", "music"])
def test_fast_sampling_draws_the_published_tokens(golden, monkeypatch, case, code):
    """The same steps, and from the same uniform numbers the same tokens."""
    data = golden(f"sampling/fast_{code}.npz")
    num_steps, skip = (int(number) for number in case[1:].split("_skip"))
    schedule = cdcd.mask_replace_schedule(
        num_steps=num_steps, vocab_size=37, denominator=38 if code == "music" else None
    )
    logits = jnp.asarray(np.moveaxis(data[f"{case}/logits"], 1, -1))
    sampler = cdcd.make_sampler(
        schedule, lambda zt, t, cond: logits, sampler=cdcd.samplers.Fast(skip=skip)
    )
    np.testing.assert_array_equal(sampler.times, [*(data[f"{case}/t_denoiser"] + 1), 0])
    state = cdcd.samplers.State(jnp.full(logits.shape[:2], schedule.mask_id))
    for index, after in enumerate(data[f"{case}/tokens"]):
        noise = -np.log(np.moveaxis(data[f"{case}/uniform"][index], 1, -1) + 1e-30) + 1e-30
        given = iter([jnp.asarray(noise[..., :-1]), jnp.asarray(noise[..., -1])])
        monkeypatch.setattr(draws, "exponential", lambda key, shape, given=given: next(given))
        s, t = sampler.times[index + 1], sampler.times[index]
        state = sampler.step(jax.random.key(0), state, s, t, None)
        np.testing.assert_array_equal(state.zt, after)


def test_fast_sampling_takes_as_many_steps_as_it_may():
    schedule = cdcd.mask_replace_schedule(num_steps=100, vocab_size=5)
    for num_steps, visited in ((100, 100), (99, 51), (34, 34), (33, 26), (2, 2)):
        sampler = cdcd.make_sampler(
            schedule, lambda zt, t, cond: zt, sampler="fast", num_steps=num_steps
        )
        assert len(sampler.times) - 1 == visited
        assert (sampler.times[0], sampler.times[-2], sampler.times[-1]) == (100, 1, 0)


@pytest.mark.parametrize("weight", ["0", "1", "2.5"])
def test_purity_is_the_published_prior(golden, monkeypatch, weight):
    """Weights of positions, sharpened tokens and what is drawn with the same uniform numbers."""
    data = golden("sampling/ms_purity.npz")
    name = f"rule2_r{weight}"
    zt, num_tokens = jnp.asarray(data["xt"]), 23
    logits = jnp.moveaxis(jnp.asarray(data["logits"]), 1, -1)
    log_p0 = jax.nn.log_softmax(logits, axis=-1)
    purity = orders.find_purity(log_p0)
    is_mask = np.asarray(zt) == num_tokens
    score = np.where(is_mask, purity, 0.0)
    np.testing.assert_allclose(score, data[f"{name}/score_masked"], rtol=1e-5)
    theirs = np.moveaxis(data[f"{name}/sampling_log_prob"], 1, -1)[..., :num_tokens]
    ours = orders.sharpen(log_p0, purity, float(weight))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    # One step of the rule, with their numbers in place of its own draws.
    schedule = cdcd.mask_replace_schedule(num_steps=100, vocab_size=num_tokens)
    uniform = np.moveaxis(data[f"{name}/uniform"], 1, -1)[..., :num_tokens]
    noise = jnp.asarray(-np.log(uniform + 1e-30) + 1e-30)
    monkeypatch.setattr(draws, "exponential", lambda key, shape: noise)
    monkeypatch.setattr(orders, "gumbel", lambda key, shape: 0.0)  # the positions of most weight
    count = data[f"{name}/selected"].shape[1]
    monkeypatch.setattr(orders, "count_left", lambda *given: jnp.asarray(is_mask.sum(1) - count))
    steps = jnp.full(2, 49), jnp.full(2, 50)
    state = cdcd.samplers.Purity(float(weight)).step(
        jax.random.key(0),
        schedule,
        lambda zt, t: cdcd.samplers.Prediction(log_p0, log_p0),
        cdcd.samplers.State(zt),
        *steps,
    )
    np.testing.assert_array_equal(state.zt, data[f"{name}/new_tokens"])
