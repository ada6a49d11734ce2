"""Head and loss a few positions at a time: the same numbers, and never all log-probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_loss import BATCH, CONTRASTS, LENGTH, VOCAB, largest_array, make_batch, make_params
from test_schedule import SCHEDULES

import cdcd_jax as cdcd


def halves(params):
    """The denoiser of test_loss in two parts."""

    def hidden_fn(zt, t, cond):
        embedded = params["token"][zt] + params["time"][t][:, None] + params["cond"][cond][:, None]
        return jnp.tanh(jnp.einsum("bld,lm->bmd", embedded, params["mix"]))

    return hidden_fn, lambda hidden: jax.nn.log_softmax(hidden @ params["out"], axis=-1)


def value_and_gradient(contrast, *, vocab=VOCAB, chains_per_pass=None, positions_per_pass=None):
    """Return a function of the parameters: the loss with its gradient, and every term."""
    z0, cond, negatives = make_batch()
    loss = cdcd.make_loss(
        SCHEDULES["published"](20, vocab),
        contrast=contrast,
        mask_weight=(1.0, 0.5),
        chains_per_pass=chains_per_pass,
        positions_per_pass=positions_per_pass,
    )

    def scalar(params):
        hidden_fn, head_fn = halves(params)
        whole = lambda zt, t, cond: head_fn(hidden_fn(zt, t, cond))  # noqa: E731
        terms, _ = loss(
            jax.random.key(1),
            whole if positions_per_pass is None else hidden_fn,
            z0,
            cond,
            negatives=None if contrast is None else negatives,
            head_fn=None if positions_per_pass is None else head_fn,
        )
        return terms.loss, terms

    return jax.value_and_grad(scalar, has_aux=True)


@pytest.mark.parametrize(
    ("name", "positions", "chains"),
    [
        ("vanilla", 4, None),
        ("shared", 3, None),
        ("sample", 100, None),
        ("parallel", 3, None),
        ("parallel", 4, 3),
    ],
)
def test_value_and_gradient_are_the_plain_ones(name, positions, chains):
    """In float64, so that only a wrong formula can show: rounding stays below 1e-12."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(jnp.float64), make_params(jax.random.key(0)))
        plain = jax.jit(value_and_gradient(CONTRASTS[name]))(params)
        found = jax.jit(
            value_and_gradient(
                CONTRASTS[name], positions_per_pass=positions, chains_per_pass=chains
            )
        )(params)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("chains", [None, 3])
@pytest.mark.parametrize("name", CONTRASTS)
def test_log_probabilities_never_exist_at_full_size(name, chains):
    vocab = 37
    params = make_params(jax.random.key(0), vocab=vocab)

    def largest(positions):
        run = value_and_gradient(
            CONTRASTS[name], vocab=vocab, positions_per_pass=positions, chains_per_pass=chains
        )
        return largest_array(jax.make_jaxpr(run)(params))

    full = BATCH * LENGTH * vocab
    assert largest(3) < full
    assert largest(None) >= full  # the check can fail


def test_a_head_serves_all_positions_at_once_too():
    params = make_params(jax.random.key(0))
    hidden_fn, head_fn = halves(params)
    z0, cond, _ = make_batch()
    loss = cdcd.make_loss(SCHEDULES["published"](20, VOCAB))
    key = jax.random.key(1)
    found = loss(key, hidden_fn, z0, cond, head_fn=head_fn)[0]
    whole = loss(jax.random.clone(key), lambda *inputs: head_fn(hidden_fn(*inputs)), z0, cond)[0]
    np.testing.assert_array_equal(found.total, whole.total)


def test_what_does_not_fit_is_named():
    hidden_fn, head_fn = halves(make_params(jax.random.key(0)))
    z0, cond, _ = make_batch()
    loss = cdcd.make_loss(SCHEDULES["published"](20, VOCAB), positions_per_pass=3)

    def check(*functions):
        denoise_fn, *head = functions
        options = {"head_fn": head[0]} if head else {}
        jax.eval_shape(lambda key: loss(key, denoise_fn, z0, cond, **options), jax.random.key(0))

    check(hidden_fn, head_fn)
    with pytest.raises(ValueError, match="positions_per_pass = 3 needs head_fn"):
        check(hidden_fn)
    with pytest.raises(ValueError, match=r"head_fn must return .* \(3, 3, 5\) .* got \(3, 3, 6\)"):
        check(hidden_fn, lambda hidden: hidden)
    with pytest.raises(ValueError, match=r"features of shape \(3, 8, width\) .* got \(3, 8\)"):
        check(lambda zt, t, cond: zt, head_fn)
