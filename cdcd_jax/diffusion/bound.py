"""The full variational bound on -log p(z0 | cond), and its prior term."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cdcd_jax.checks import check_function, check_key, check_tokens, require
from cdcd_jax.diffusion.denoiser import check_outputs, log_probs
from cdcd_jax.diffusion.eager import call_compiled
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.sharding import vary_like_result
from cdcd_jax.diffusion.terms import step_terms
from cdcd_jax.diffusion.transitions import corrupt
from cdcd_jax.typing import DenoiseFn, PRNGKey, Tokens


def prior_kl(schedule: Schedule) -> Float[Array, ""]:
    """Return KL(q(zT | z0) || p(zT)) of one position, in nats, at least 0.

    The prior p(zT) masks with gamma_bar_T and is uniform over the tokens otherwise. The value does
    not depend on z0. See `cdcd_jax.diffusion.transitions.sample_prior` for where `sample` starts.
    """
    check_schedule(schedule)
    alpha, beta, keep = (
        jnp.asarray(table)[-1]
        for table in (schedule.alpha_bar, schedule.beta_bar, schedule.keep_bar)
    )
    uniform = keep / schedule.vocab_size
    visible = uniform > 0.0

    def term(q: Array) -> Array:
        # u (x log x - x + 1) with x = q / u: what is added to u x log x sums to 0 over the tokens,
        # and no term is negative, so that nothing cancels in float32.
        x = jnp.where(visible, q / jnp.where(visible, uniform, 1.0), 1.0)
        return uniform * jnp.maximum(x * jnp.log(jnp.where(x > 0.0, x, 1.0)) - x + 1.0, 0.0)

    # q(zT = v | z0 = v) = alpha_bar_T + beta_bar_T, beta_bar_T for each of the K - 1 other tokens;
    # the mask has gamma_bar_T under both, and adds nothing.
    return term(alpha + beta) + (schedule.vocab_size - 1) * term(beta)


def evaluate_bound(
    key: PRNGKey, schedule: Schedule, denoise_fn: DenoiseFn, z0: Tokens, cond: object
) -> Float[Array, " batch"]:
    """Estimate the full variational bound on -log p(z0 | cond).

    sum over t=1..T of the step's term, each at its own zt ~ q(zt | z0), plus the prior term
    (VQ-Diffusion Eq. 9). Unbiased: one draw per step.

    Args:
        key: Random key.
        schedule: The noise schedule.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        z0: Clean tokens, values 0..K-1.
        cond: Passed on to denoise_fn.

    Returns:
        Nats, summed over positions; divide by ``length * log(2)`` for bits per token.

    Raises:
        ValueError: z0 is not [batch length] or holds no token ids, or the network's output is not
            [batch length K] or NaN.

    Note:
        With noise that is nearly absorbing, as the published schedule's, a network must predict
        that a visible token stays: it was replaced with a probability of about 1e-6, and a network
        that does not copy it pays for it twice. A uniform prediction scores about
        2 log2(K) + 1 bits per token there, and log2(K) with a pure absorbing schedule, which
        carries visible tokens over whatever the network says.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=10, vocab_size=4)
        >>> guess = lambda zt, t, cond: jnp.full((*zt.shape, 4), -jnp.log(4.0))
        >>> z0 = jnp.zeros((500, 8), jnp.int32)
        >>> nats = evaluate_bound(jax.random.key(0), schedule, guess, z0, None)
        >>> print((nats.mean() / (8 * jnp.log(2))).round(1))  # bits per token of a uniform guess
        2.0
    """
    check_key(key)
    check_schedule(schedule)
    check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
    check_tokens("z0", z0, schedule.vocab_size)
    nats = call_compiled(_sum_steps, _probe, schedule, key, denoise_fn, jnp.asarray(z0), cond)
    require(
        lambda nats: nats == nats,
        "the bound of example {place} is {value}: the network's probabilities are NaN",
        nats,
    )
    return nats


def _sum_steps(
    schedule: Schedule, key: PRNGKey, denoise_fn: DenoiseFn, z0: Tokens, cond: object
) -> Float[Array, " batch"]:
    denoise_fn = check_outputs(denoise_fn)

    def add_step(total: Array, t: Int[Array, ""]) -> tuple[Array, None]:
        # Each step has its own zt ~ q(zt | z0): one draw gives an unbiased estimate of its KL.
        steps = jnp.full(z0.shape[:1], t)
        zt = corrupt(jax.random.fold_in(key, t), schedule, z0, steps)
        log_p0 = log_probs(denoise_fn(zt, steps, cond), zt, schedule.vocab_size)
        kl, _ = step_terms(schedule, log_p0, z0[:, None], zt, steps)
        return total + jnp.sum(kl[:, 0], axis=-1), None

    # KL(q(zT | z0) || p(zT)) is the same at every position.
    start = jnp.full(z0.shape[:1], prior_kl(schedule) * z0.shape[1])
    start = vary_like_result(lambda total: add_step(total, jnp.asarray(1))[0], start)
    nats, _ = jax.lax.scan(add_step, start, jnp.arange(1, schedule.num_steps + 1))
    return nats


def _probe(
    schedule: Schedule, key: PRNGKey, denoise_fn: DenoiseFn, z0: Tokens, cond: object
) -> None:
    denoise_fn(z0, jnp.ones(z0.shape[:1], jnp.int32), cond)
