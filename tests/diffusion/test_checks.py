"""Input that would give nonsense is refused, by value and place, or made sense of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config

import cdcd_jax as cdcd
from cdcd_jax import checks
from cdcd_jax.diffusion.guidance import guide_denoiser

K, SHAPE = 16, (4, 24)
SCHEDULE = cdcd.mask_replace_schedule(num_steps=10, vocab_size=K)
Z0 = jax.random.randint(jax.random.key(0), SHAPE, 0, K)
T = jnp.full(4, 3)
LOGITS = jax.random.normal(jax.random.key(2), (*SHAPE, K))


@pytest.fixture
def as_users_call_it():
    """Leave out the checks of annotations, which tests add: users do not have them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def key():
    return jax.random.key(1)


def uniform(zt, t, cond):
    return jnp.full((*zt.shape, K), -jnp.log(16.0))


def with_mask(zt, t, cond):
    return jnp.full((*zt.shape, K + 1), -jnp.log(17.0))


def loss(z0, negatives=None, denoise_fn=uniform):
    contrast = None if negatives is None else cdcd.Contrast("sample")
    fn = cdcd.make_loss(SCHEDULE, contrast=contrast)
    return fn(key(), denoise_fn, z0, None, negatives=negatives)[0].loss


def bound(z0, denoise_fn=uniform):
    return cdcd.evaluate_bound(key(), SCHEDULE, denoise_fn, z0, None)


def sample(denoise_fn=uniform, shape=SHAPE, **options):
    return cdcd.sample(key(), SCHEDULE, denoise_fn, None, shape=shape, num_steps=2, **options)


def steps(t, s=None):
    return cdcd.q_sample(key(), SCHEDULE, Z0, t, s)


BAD_VALUES = [
    (lambda: loss(Z0.at[0, 0].set(16)), r"z0\[0, 0\] = 16 is not a token id: those are 0\.\.15$"),
    (lambda: loss(Z0.at[2, 5].set(21)), r"z0\[2, 5\] = 21 is not a token id"),
    (lambda: loss(Z0.at[3, 23].set(-1)), r"z0\[3, 23\] = -1 is not a token id"),
    (
        lambda: loss(Z0, Z0[:, None].at[1, 0, 2].set(16)),
        r"negatives\[1, 0, 2\] = 16 is not a token id",
    ),
    (lambda: bound(Z0.at[0, 1].set(16)), r"z0\[0, 1\] = 16 is not a token id"),
    (
        lambda: cdcd.q_sample(key(), SCHEDULE, Z0.at[1, 1].set(-1), T),
        r"zs\[1, 1\] = -1 is not a token id: those are 0\.\.16, of which 16 is the mask",
    ),
    (lambda: cdcd.log_q(SCHEDULE, Z0.at[1, 1].set(17), T - 1, T), r"zs\[1, 1\] = 17 is not"),
    (
        lambda: cdcd.log_posterior(SCHEDULE, LOGITS, Z0.at[1, 1].set(17), T - 1, T),
        r"zt\[1, 1\] = 17 is not a token id",
    ),
    (
        lambda: cdcd.log_q_posterior(SCHEDULE, Z0.at[0, 3].set(16), Z0, T - 1, T),
        r"z0\[0, 3\] = 16 is not a token id",
    ),
    (
        lambda: sample(known=jnp.full(SHAPE, -1).at[:, :12].set(Z0[:, :12])),
        r"known\[0, 12\] = -1 is not a token id: those are 0\.\.16, of which 16 is the mask",
    ),
    (lambda: steps(T.at[2].set(11)), r"t\[2\] = 11 is not a noised step: those are 1..T = 1..10"),
    (lambda: steps(T.at[2].set(0)), r"t\[2\] = 0 is not a noised step"),
    (lambda: steps(T, T), r"s\[0\] = 3 must be at least 0 and less than its t"),
]


@pytest.mark.parametrize(("call", "message"), BAD_VALUES)
def test_values_are_named_with_their_place(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample(known=Z0[:2]), r"known must have the shape of the samples, \(4, 24\)"),
        (lambda: sample(shape=(0, 24)), r"shape = \(0, 24\) must be \(batch, length\)"),
        (lambda: sample(shape=(4,)), r"shape = \(4,\) must be \(batch, length\)"),
        (lambda: loss(Z0[:0]), r"z0 has no tokens: its shape \[batch length\] is \(0, 24\)"),
        (lambda: bound(Z0[:0]), "z0 has no tokens"),
        (
            lambda: loss(Z0.reshape(4, 4, 6)),
            r"z0 must have shape \[batch length\], got \(4, 4, 6\)",
        ),
        (lambda: bound(Z0.reshape(4, 4, 6)), "an image's tokens are one sequence, row by row"),
        (
            lambda: cdcd.shuffle_chunks(key(), Z0.reshape(4, 4, 6)),
            r"z0 must have shape \[batch length",
        ),
        (lambda: cdcd.shuffle_patches(key(), Z0[:0], grid=(4, 6)), "z0 has no tokens"),
        (lambda: loss(Z0.astype(float)), "z0 must hold integers, token ids, got float32"),
        (
            lambda: cdcd.q_sample(
                key(), cdcd.absorbing_schedule(num_steps=9, vocab_size=128), Z0.astype(jnp.int8), T
            ),
            "zs is int8, which cannot hold the mask, 128: use int32",
        ),
        (
            lambda: cdcd.make_loss(SCHEDULE).draw(key(), Z0, stats=cdcd.init_timestep_stats(20)),
            "stats are of 20 steps, and the schedule has 10",
        ),
        (lambda: steps(T[:2]), r"t must have shape \[batch\] = \(4,\), a step for each row"),
        (lambda: loss(Z0, denoise_fn=with_mask), "the mask is not among the K"),
        (lambda: bound(Z0, denoise_fn=with_mask), "the mask is not among the K"),
        (lambda: sample(with_mask), r"of shape \(4, 24, 16\) .* got \(4, 24, 17\)"),
        (
            lambda: cdcd.shuffle_chunks(key(), Z0, num_negatives=10**12),
            r"num_negatives = 1,000,000,000,000 of 4 x 24 tokens are more than the 2,147,483,647",
        ),
        (
            lambda: cdcd.shuffle_patches(key(), Z0, grid=(4, 6), num_negatives=2**31 // 96 + 1),
            r"num_negatives = 22,369,622 of 4 x 24 tokens are more than",
        ),
    ],
)
@pytest.mark.usefixtures("as_users_call_it")
def test_shapes_and_dtypes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(ValueError, match=message):  # known while compiling, too
        jax.eval_shape(call)


RUNS = {
    "loss": lambda denoise_fn: loss(Z0, denoise_fn=denoise_fn),
    "parallel chains": lambda denoise_fn: cdcd.make_loss(SCHEDULE, contrast=cdcd.Contrast("step"))(
        key(), denoise_fn, Z0, None, negatives=Z0[:, None, ::-1]
    ),
    "bound": lambda denoise_fn: bound(Z0, denoise_fn=denoise_fn),
    "sample": lambda denoise_fn: sample(denoise_fn),
    "guidance": lambda denoise_fn: cdcd.sample(
        key(), SCHEDULE, guide_denoiser(denoise_fn, jnp.zeros(4), 2.0), jnp.ones(4), shape=SHAPE
    ),
}


def forget_the_step(zt, cond):
    return uniform(zt, None, cond)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize(
    ("denoise_fn", "got"),
    [
        (lambda zt, t, cond: None, "the output of denoise_fn must be an array .*, got None"),
        (lambda zt, t, cond: (uniform(zt, t, cond), 1), "must be an array .*, got a tuple: use"),
        (forget_the_step, r"denoise_fn\(zt, t, cond\), got one of \(zt, cond\)"),
        (jax.jit(forget_the_step), r"denoise_fn\(zt, t, cond\), got one of \(zt, cond\)"),
        (lambda zt, t, cond, train: uniform(zt, t, cond), r"one of \(zt, t, cond, train\)"),
    ],
)
def test_a_network_of_another_form_is_named(run, denoise_fn, got):
    with pytest.raises(ValueError, match=got):
        jax.eval_shape(lambda: run(denoise_fn))


def test_whatever_takes_three_arguments_is_a_network():
    def apply(params, zt, t, cond):
        return uniform(zt, t, cond)

    @functools.wraps(apply)
    def bound_to_params(zt, t, cond):
        return apply({}, zt, t, cond)

    class Network:
        def __call__(self, zt, t, cond=None, *, train=False):
            return uniform(zt, t, cond)

        @functools.partial(jax.jit, static_argnums=0)
        def compiled(self, zt, t, cond):
            return uniform(zt, t, cond)

    for denoise_fn in (
        *(Network().compiled, functools.partial(jax.jit(bound_to_params))),
        *(functools.partial(apply, {}), bound_to_params, jax.jit(bound_to_params), Network()),
        *(Network().__call__, jax.checkpoint(uniform), jax.jit(functools.partial(apply, {}))),
    ):
        assert jax.eval_shape(lambda fn=denoise_fn: sample(fn)).shape == SHAPE


def test_traced_values_are_checked_where_that_is_wanted():
    draw = jax.jit(lambda z0: cdcd.q_sample(key(), SCHEDULE, z0, T))
    bad = Z0.at[1, 2].set(99)
    draw(bad)  # not known; and what was compiled without checks does not hide them
    checked = cdcd.checked(lambda z0: draw(z0))
    np.testing.assert_array_equal(checked(Z0), draw(Z0))
    with pytest.raises(
        ValueError, match=r"zs\[1, 2\] = 99 is not a token id: those are 0\.\.16.*mask$"
    ):
        checked(bad)
    np.testing.assert_array_equal(draw(Z0), checked(Z0))


def test_everything_is_checked_in_one_program():
    @cdcd.checked
    def everything(z0, negatives, known, truncation):
        guided = guide_denoiser(lambda zt, t, cond: uniform(zt, t, cond), jnp.zeros(4), 2.0)
        made = cdcd.sample(
            key(), SCHEDULE, guided, jnp.ones(4), shape=SHAPE, num_steps=2, known=known,
            truncation=truncation,
        )  # fmt: skip
        return loss(z0, negatives), bound(z0), made

    good = {
        "z0": Z0,
        "negatives": Z0[:, None, ::-1],
        "known": jnp.full(SHAPE, K),
        "truncation": 0.9,
    }
    everything(**good)
    for change, message in (
        ({"z0": Z0.at[0, 0].set(K)}, r"z0\[0, 0\] = 16"),
        ({"negatives": Z0[:, None].at[3, 0, 1].set(-1)}, r"negatives\[3, 0, 1\] = -1"),
        ({"known": jnp.full(SHAPE, -1)}, r"known\[0, 0\] = -1"),
        ({"truncation": 1.5}, r"truncation must be in \(0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            everything(**good | change)


def test_a_network_without_probabilities_is_found():
    broken = lambda zt, t, cond: uniform(zt, t, cond).at[1, 2, 3].set(jnp.nan)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"denoise_fn gives no probabilities: .* = \[1, 2, 3\] is nan"
    ):
        cdcd.checked(lambda key: cdcd.sample(key, SCHEDULE, broken, None, shape=SHAPE))(key())
    with pytest.raises(ValueError, match=r"sample\[1, 2\] is 16, the mask"):
        cdcd.sample(key(), SCHEDULE, broken, None, shape=SHAPE)
    with pytest.raises(ValueError, match=r"the bound of example \[1\] is nan"):
        cdcd.evaluate_bound(key(), SCHEDULE, broken, Z0, None)


def test_checks_add_nothing_to_a_program(monkeypatch):
    def program(z0, negatives, t):
        noised = cdcd.q_sample(key(), SCHEDULE, z0, t)
        return noised, loss(z0, negatives), sample(known=noised)

    arguments = Z0, Z0[:, None], T
    plain = str(jax.make_jaxpr(program)(*arguments))
    monkeypatch.setattr(checks, "require", lambda *given: None)
    assert plain == str(jax.make_jaxpr(lambda *given: program(*given))(*arguments))


def test_logits_are_normalised_where_they_enter():
    """Constants at each position change neither loss, bound, posterior, guidance nor samples."""
    shifted = LOGITS + 40.0 * jax.random.normal(key(), (*SHAPE, 1))

    @jax.jit
    def run(logits):
        def denoise_fn(zt, t, cond):
            return jnp.tile(logits, (len(zt) // 4, 1, 1)) * (1.0 + cond[:, None, None])

        fn = cdcd.make_loss(SCHEDULE, contrast=cdcd.Contrast("step", weight=0.1, chains="shared"))
        cond = jnp.ones(4)
        terms = fn(key(), denoise_fn, Z0, cond, negatives=Z0[:, None, ::-1])[0]
        guided = guide_denoiser(denoise_fn, jnp.zeros(1), 2.0)
        tokens = cdcd.sample(
            key(), SCHEDULE, guided, cond, shape=SHAPE, truncation=0.8, num_steps=3
        )
        posterior = cdcd.log_posterior(SCHEDULE, logits, Z0, T - 1, T)
        return terms, cdcd.evaluate_bound(key(), SCHEDULE, denoise_fn, Z0, cond), posterior, tokens

    normalised = run(jax.nn.log_softmax(LOGITS))
    for ours, theirs in zip(*map(jax.tree.leaves, (run(shifted), normalised)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)
    assert float(normalised[0].loss) > 0


def test_equal_negatives_are_counted():
    constant = Z0.at[1].set(7)
    negatives = cdcd.shuffle_chunks(key(), constant, num_negatives=2)
    contrasts = [cdcd.Contrast("sample"), cdcd.Contrast("step", chains="shared")]
    fn = cdcd.make_loss(SCHEDULE, contrast=contrasts)
    others = (constant[:, None] + 1) % K
    terms, _ = jax.jit(
        lambda z0: fn(key(), uniform, z0, None, negatives=(negatives, others))
    )(constant)  # fmt: skip
    np.testing.assert_allclose(terms.equal_negatives, [0, 2 / 3, 0, 0], rtol=1e-6)
