from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_schedule import SCHEDULES

import cdcd_jax as cdcd
from cdcd_jax.diffusion.chunks import denoise_chains
from cdcd_jax.diffusion.loss import Loss, evaluate_terms
from cdcd_jax.diffusion.noise import Noise, join_corrupted
from cdcd_jax.diffusion.terms import sum_terms
from cdcd_jax.diffusion.timesteps import (
    TimestepStats,
    sample_timesteps,
    timestep_probs,
    update_timestep_stats,
)
from cdcd_jax.diffusion.transitions import q_sample

VOCAB, LENGTH, BATCH = 5, 8, 3


def network(params):
    """A small denoiser that mixes positions, depends on t and cond, and is plain jax."""

    def denoise_fn(zt, t, cond):
        embedded = params["token"][zt] + params["time"][t][:, None] + params["cond"][cond][:, None]
        mixed = jnp.einsum("bld,lm->bmd", embedded, params["mix"])
        return jax.nn.log_softmax(jnp.tanh(mixed) @ params["out"], axis=-1)

    return denoise_fn


def make_params(key, vocab=VOCAB, length=LENGTH, steps=20, width=6):
    keys = jax.random.split(key, 5)
    return {
        "token": jax.random.normal(keys[0], (vocab + 1, width)),
        "time": jax.random.normal(keys[1], (steps + 1, width)),
        "cond": jax.random.normal(keys[2], (4, width)),
        "mix": jax.random.normal(keys[3], (length, length)) / length**0.5,
        "out": 2.0 * jax.random.normal(keys[4], (width, vocab)),
    }


@cache
def make_batch():
    key = jax.random.key(7)
    z0 = jax.random.randint(key, (BATCH, LENGTH), 0, VOCAB)
    negatives = jax.random.randint(jax.random.fold_in(key, 1), (BATCH, 4, LENGTH), 0, VOCAB)
    return z0, jnp.array([0, 1, 3]), negatives


@pytest.fixture
def batch():
    return make_batch()


def noise_at(key, schedule, contrasts, zt, t, p_t, negatives):
    """Noise at given steps and noised tokens: what negatives of their own noise need is drawn."""
    clean, own = join_corrupted(contrasts, negatives), None
    if clean is not None:
        rows, steps = clean.reshape(-1, clean.shape[-1]), jnp.repeat(t, clean.shape[1])
        own = q_sample(key, schedule, rows, steps).reshape(clean.shape)
    return Noise(t=t, p_t=p_t, zt=zt, zt_negatives=own, kept=(None,) * len(contrasts))


def largest_array(jaxpr):
    """Return the size of the largest array that a program makes, its inner programs included."""
    sizes = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            sizes.extend(int(np.prod(out.aval.shape)) for out in equation.outvars)
            for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    visit(inner)

    visit(jaxpr.jaxpr)
    return max(sizes)


def finite(tree):
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))


CONTRASTS = {
    "vanilla": None,
    "shared": cdcd.Contrast("step", weight=0.1, chains="shared"),
    "parallel": cdcd.Contrast("step", weight=0.1, chains="parallel"),
    "sample": cdcd.Contrast("sample", weight=0.1),
}


@pytest.mark.parametrize("contrast", CONTRASTS.values(), ids=CONTRASTS)
@pytest.mark.parametrize(("num_steps", "vocab"), [(1, 2), (20, 5)])
def test_gradients_are_finite(contrast, num_steps, vocab):
    """At t=1, t=T, all masks and no masks, with certain and with impossible guesses."""
    z0 = jax.random.randint(jax.random.key(0), (6, LENGTH), 0, vocab)
    masks, extreme = jnp.full((2, LENGTH), vocab), 60.0 * jax.nn.one_hot(z0, vocab)
    zt = jnp.concatenate([masks, z0[2:4], z0[4:].at[:, ::2].set(vocab)])
    t = jnp.array([1, num_steps] * 3)
    contrasts = () if contrast is None else (contrast,)
    negatives = tuple((z0[:, None] + 1) % vocab for _ in contrasts)

    p_t = jnp.full(6, 1.0 / num_steps)

    # The rates are arguments, so that one program serves all schedules.
    @jax.jit
    @jax.value_and_grad
    def loss(logits, schedule):
        key = jax.random.key(0)
        noise = noise_at(key, schedule, contrasts, zt, t, p_t, negatives)
        return evaluate_terms(
            Loss(schedule, contrasts=contrasts), noise,
            lambda zt, t, cond: jax.nn.log_softmax(logits, axis=-1), z0, None, negatives,
        ).loss  # fmt: skip

    for name, make in SCHEDULES.items():
        for logits in (extreme, -extreme, jnp.zeros_like(extreme)):
            assert finite(loss(logits, make(num_steps, vocab))), name


@pytest.mark.parametrize(
    ("name", "count"),
    [("vanilla", 0), *((name, n) for name in ("shared", "parallel", "sample") for n in (0, 1, 4))],
)
def test_any_number_of_negatives(batch, name, count):
    z0, cond, negatives = batch
    contrast = CONTRASTS[name]
    schedule = SCHEDULES["published"](20, VOCAB)
    loss = cdcd.make_loss(schedule, contrast=contrast)
    given = None if contrast is None else negatives[:, :count]
    denoise_fn = network(make_params(jax.random.key(0)))
    terms = jax.jit(lambda key: loss(key, denoise_fn, z0, cond, negatives=given)[0])(
        jax.random.key(1)
    )
    assert finite(terms)
    assert bool(jnp.all(terms.contrast == 0)) == (contrast is None or count == 0)


@pytest.mark.parametrize("contrast", CONTRASTS.values(), ids=CONTRASTS)
def test_jit_is_eager_and_batch_is_stacked_singles(batch, contrast):
    z0, cond, negatives = batch
    schedule = SCHEDULES["uniform"](20, VOCAB)
    loss = cdcd.make_loss(schedule, contrast=contrast)
    denoise_fn = network(make_params(jax.random.key(0)))
    t = jnp.array([1, 7, 20])
    zt = q_sample(jax.random.key(2), schedule, z0, t)
    given = () if contrast is None else (negatives,)

    def run(z0, zt, t, cond, given):
        p_t = jnp.full(t.shape, 0.05)
        noise = noise_at(jax.random.key(3), schedule, loss.contrasts, zt, t, p_t, given)
        return loss.at(noise, denoise_fn, z0, cond, negatives=given)

    eager = run(z0, zt, t, cond, given)
    for ours, theirs in zip(
        jax.tree.leaves(jax.jit(run)(z0, zt, t, cond, given)), jax.tree.leaves(eager), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    for i in range(BATCH):
        one = slice(i, i + 1)
        single = jax.jit(run)(z0[one], zt[one], t[one], cond[one], tuple(x[one] for x in given))
        np.testing.assert_allclose(single.vb[0], eager.vb[i], rtol=2e-5)
        np.testing.assert_allclose(single.aux[0], eager.aux[i], rtol=2e-5)
        if contrast is None or not contrast.corrupts_negatives:  # they draw other noise
            np.testing.assert_allclose(single.total[0], eager.total[i], rtol=2e-5)


def test_parallel_chains_are_each_chain_alone(batch):
    """The vectorised pass gives each negative the bound term of an ordinary example."""
    z0, cond, negatives = batch
    schedule = SCHEDULES["published"](20, VOCAB)
    denoise_fn = network(make_params(jax.random.key(0)))
    t = jnp.array([1, 7, 20])
    rows, steps = negatives.reshape(-1, LENGTH), jnp.repeat(t, negatives.shape[1])
    chains = q_sample(jax.random.key(4), schedule, rows, steps).reshape(negatives.shape)
    terms_fn = partial(sum_terms, schedule, t)

    @partial(jax.jit, static_argnums=1)
    def run(chains, chunk):
        predict = lambda zt: denoise_fn(zt, t, cond)  # noqa: E731
        return denoise_chains(terms_fn, predict, z0, negatives, chains, chains_per_pass=chunk)

    found = {chunk: run(chains, chunk) for chunk in (None, 1, 3, 4)}
    for log_p0, _ in found.values():
        np.testing.assert_allclose(log_p0, denoise_fn(z0, t, cond), rtol=1e-5)
    for j in range(negatives.shape[1]):
        alone = denoise_fn(chains[:, j], t, cond)
        clean = negatives[:, j : j + 1]
        for term, single in terms_fn(alone, clean, chains[:, j])._asdict().items():
            for _, sums in found.values():
                np.testing.assert_allclose(getattr(sums, term)[:, j], single[:, 0], rtol=2e-5)


@cache
def in_chunks(chunk):
    """Return the loss of parallel chains and its gradient, so many chains at once."""
    z0, cond, negatives = make_batch()
    schedule = SCHEDULES["published"](20, VOCAB)
    loss = cdcd.make_loss(schedule, contrast=CONTRASTS["parallel"], chains_per_pass=chunk)

    def scalar(params):
        denoise_fn = network(params)
        return loss(jax.random.key(1), denoise_fn, z0, cond, negatives=negatives)[0].loss

    return jax.tree.leaves(jax.jit(jax.value_and_grad(scalar))(make_params(jax.random.key(0))))


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_change_neither_value_nor_gradient(chunk):
    for ours, plain in zip(in_chunks(chunk), in_chunks(None), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-4, atol=1e-6)


def test_several_terms_add_up(batch):
    """Intra and inter negatives together, each with its own mechanism and weight."""
    z0, cond, negatives = batch
    schedule = SCHEDULES["published"](20, VOCAB)
    denoise_fn = network(make_params(jax.random.key(0)))
    t, p_t = jnp.array([2, 7, 20]), jnp.full(BATCH, 0.05)
    zt = q_sample(jax.random.key(2), schedule, z0, t)
    shuffled = cdcd.shuffle_chunks(jax.random.key(3), z0, num_chunks=4, num_negatives=2)

    @partial(jax.jit, static_argnums=0)
    def run(contrasts, given):
        noise = noise_at(jax.random.key(5), schedule, contrasts, zt, t, p_t, given)
        loss = cdcd.make_loss(schedule, contrast=contrasts)
        return loss.at(noise, denoise_fn, z0, cond, negatives=given)

    vanilla = run((), ())
    first, second = CONTRASTS["shared"], cdcd.Contrast("sample", weight=0.3)
    one = run((first,), (shuffled,)).total - vanilla.total
    two = run((second,), (negatives,)).total - vanilla.total
    both = run((first, second), (shuffled, negatives)).total - vanilla.total
    np.testing.assert_allclose(both, one + two, rtol=1e-3)
    third = run((first, CONTRASTS["parallel"], second), (shuffled, negatives, negatives))
    assert finite(third)
    assert np.all(third.contrast < run((first, second), (shuffled, negatives)).contrast)


def test_downsampled_contrastive_steps(batch):
    """The term is there for the given share of the steps and absent at the others."""
    z0, cond, negatives = batch
    schedule = SCHEDULES["published"](20, VOCAB)
    contrast = cdcd.Contrast("sample", num_steps=5)
    loss = cdcd.make_loss(schedule, contrast=contrast)
    denoise_fn = network(make_params(jax.random.key(0)))
    run = jax.jit(lambda key: loss(key, denoise_fn, z0, cond, negatives=negatives)[0].contrast)
    found = np.stack([run(key) for key in jax.random.split(jax.random.key(1), 400)])
    share = np.mean(found != 0)
    assert abs(share - 5 / 20) < 5 * np.sqrt(0.25 * 0.75 / found.size)


def test_loss_estimates_the_bound(batch):
    """Over random t and noise the vanilla loss without auxiliary term is the bound less prior."""
    z0, cond, _ = batch
    schedule = SCHEDULES["published"](20, VOCAB)
    denoise_fn = network(make_params(jax.random.key(0)))
    loss = cdcd.make_loss(schedule, aux_weight=0.0)
    run = jax.jit(lambda key: loss(key, denoise_fn, z0, cond)[0].total)
    totals = np.stack([run(key) for key in jax.random.split(jax.random.key(1), 3000)])
    bound = jax.jit(lambda key: cdcd.evaluate_bound(key, schedule, denoise_fn, z0, cond))
    bounds = np.stack([bound(key) for key in jax.random.split(jax.random.key(2), 300)])
    error = np.sqrt(totals.var(axis=0) / 3000 + bounds.var(axis=0) / 300)
    assert np.all(np.abs(totals.mean(axis=0) - bounds.mean(axis=0)) < 5 * error + 0.01)


def test_importance_sampling_is_unbiased_and_follows_the_second_moments():
    stats = TimestepStats(second_moment=jnp.array([100.0, 1.0, 4.0]), count=jnp.full(3, 11.0))
    probs = np.asarray(timestep_probs(stats))
    np.testing.assert_allclose(probs, [0.25, 0.25, 0.5], rtol=1e-3)  # p_1 is copied from p_2
    t, p_t = sample_timesteps(jax.random.key(0), stats, 40_000)
    frequency = np.bincount(np.asarray(t), minlength=4)[1:] / 40_000
    assert np.all(np.abs(frequency - probs) < 5 * np.sqrt(probs / 40_000))
    np.testing.assert_allclose(p_t, probs[np.asarray(t) - 1])
    unseen = TimestepStats(second_moment=stats.second_moment, count=jnp.array([11.0, 10.0, 11.0]))
    np.testing.assert_allclose(timestep_probs(unseen), 1 / 3)
    after = update_timestep_stats(stats, jnp.array([2, 2]), jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(after.second_moment, [100.0, 0.9 + 0.1 * 5.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(after.count, [11, 13, 11])


def test_one_step_schedule_has_stats():
    assert float(timestep_probs(cdcd.init_timestep_stats(1))[0]) == 1.0


def test_no_array_of_all_negatives_times_vocabulary(batch):
    """Shared chains and sample mode are closed forms: nothing [batch N length K] is ever made."""
    vocab, count = 37, 11
    schedule = SCHEDULES["published"](20, vocab)
    z0 = jnp.zeros((BATCH, LENGTH), jnp.int32)
    negatives = jnp.ones((BATCH, count, LENGTH), jnp.int32)
    params = make_params(jax.random.key(0), vocab=vocab)

    def largest(contrast):
        loss = cdcd.make_loss(schedule, contrast=contrast)

        def scalar(params):
            return loss(
                jax.random.key(0), network(params), z0, jnp.zeros(BATCH, int), negatives=negatives
            )[0].loss

        return largest_array(jax.make_jaxpr(jax.grad(scalar))(params))

    full = BATCH * count * LENGTH * vocab
    assert largest(CONTRASTS["shared"]) < full
    assert largest(CONTRASTS["sample"]) < full
    assert largest(CONTRASTS["parallel"]) >= full  # the check can fail


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: cdcd.Contrast("stepwise"), "mechanism must be one of"),
        (lambda s: cdcd.Contrast("step", chains="both"), "chains must be one of"),
        (lambda s: cdcd.Contrast("step", weight=-1.0), "must be finite and >= 0"),
        (lambda s: cdcd.Contrast("step", weight=float("nan")), "must be finite and >= 0"),
        (lambda s: cdcd.Contrast("step", num_steps=0), "num_steps must be a whole number"),
        (lambda s: cdcd.make_loss(s, contrast=cdcd.Contrast("step", num_steps=21)), "21 steps"),
        (lambda s: cdcd.make_loss(s, aux_weight=-1.0), "aux_weight = -1"),
        (lambda s: cdcd.make_loss(s, aux_time_weight="up"), "aux_time_weight must be one of"),
        (lambda s: cdcd.make_loss(s, chains_per_pass=0), "chains_per_pass must be"),
        (lambda s: cdcd.make_loss(s, mask_weight=(1.0, float("nan"))), "must be finite"),
        (lambda s: cdcd.make_loss(s, aux_weight=float("inf")), "must be finite"),
        (lambda s: cdcd.make_loss(s, positions_per_pass=0), "positions_per_pass must be"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(SCHEDULES["published"](20, VOCAB))


def test_bad_shapes_are_named(batch):
    z0, cond, negatives = batch
    schedule = SCHEDULES["published"](20, VOCAB)
    denoise_fn = network(make_params(jax.random.key(0)))
    loss = cdcd.make_loss(schedule, contrast=CONTRASTS["sample"])
    wide = lambda zt, t, cond: jnp.zeros((*zt.shape, VOCAB + 1))  # noqa: E731

    def check(denoise_fn, **given):
        jax.eval_shape(lambda key: loss(key, denoise_fn, z0, cond, **given), jax.random.key(0))

    check(denoise_fn, negatives=negatives)
    with pytest.raises(ValueError, match="1 contrastive terms and was given 0"):
        check(denoise_fn)
    with pytest.raises(ValueError, match=r"negatives must have shape \(batch, N, length\)"):
        check(denoise_fn, negatives=negatives[:, :, :-1])
    with pytest.raises(ValueError, match="the mask is not among the K"):
        check(wide, negatives=negatives)
