"""The variational bound: per-step KL divergences in closed form, the prior term, the full bound.

q(zs | zt, z0) takes at most four distinct values over the K+1 classes (at z0, at zt, at the mask,
everywhere else), so KL(q || p) needs log p at two tokens and its sum over all of them. The sum is
one pass over [batch length K] that any number of clean sequences share; each then costs gathers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cdcd_jax.checks import check_function, check_key, check_tokens, require
from cdcd_jax.diffusion.denoiser import log_probs
from cdcd_jax.diffusion.eager import call_compiled
from cdcd_jax.diffusion.posterior import ReverseRates, reverse_rates, reverse_weights
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.sharding import vary_like_result
from cdcd_jax.diffusion.transitions import LOG_FLOOR, q_sample
from cdcd_jax.typing import DenoiseFn, LogProbs, Negatives, PRNGKey, Timesteps, Tokens


def step_terms(
    schedule: Schedule, log_p0: LogProbs, clean: Negatives, zt: Tokens, t: Timesteps
) -> tuple[Float[Array, "batch num_neg length"], Float[Array, "batch num_neg length"]]:
    """Score clean sequences under one reverse step t -> t-1 of one noised sequence.

    For each clean sequence z: KL(q(z_{t-1} | zt, z) || p(z_{t-1} | zt, cond)) and
    -log p(z0 = z | zt, cond), at every position. At t = 1 the two are the same number, the decoder
    negative log-likelihood (VQ-Diffusion Eq. 9; CDCD Eq. 4).

    Args:
        schedule: The noise schedule.
        log_p0: log p(z0 | zt, cond), normalised over the K real tokens.
        clean: Sequences to score, values 0..K-1, e.g. z0 itself followed by negatives.
        zt: Noised tokens, values 0..K.
        t: Steps of zt, 1..T.

    Returns:
        The KL and the negative log-likelihood, nats per position, [batch num_neg length] each.

    Note:
        log_p0 is floored at -70; below, gradients are zero. With a pure absorbing schedule an
        unmasked position is carried over for certain and its KL is 0 for every clean sequence.
    """
    rates = reverse_rates(schedule, t - 1, t)
    log_p0 = jnp.maximum(log_p0, LOG_FLOOR)
    is_mask = zt == schedule.mask_id
    carried = rates.carry & ~is_mask

    # Log-probabilities at the clean tokens and, where it is a token, at zt: one gather for all.
    token = jnp.minimum(zt, schedule.vocab_size - 1)
    wanted = jnp.concatenate([clean, token[:, None]], axis=1)
    at = jnp.take_along_axis(log_p0, wanted.swapaxes(1, 2), axis=-1).swapaxes(1, 2)

    weights = reverse_weights(rates, jnp.exp(log_p0), zt)
    log_g = jnp.log(jnp.where(carried[..., None], 1.0, weights.g))
    kl = _closed_form_kl(
        rates,
        log_g_sum=jnp.sum(log_g, axis=-1),
        r_sum=weights.r_sum[..., 0],
        log_p_clean=at[:, :-1],
        log_p_token=at[:, -1],
        is_mask=is_mask,
        hit=clean == zt[:, None],
        vocab_size=schedule.vocab_size,
    )
    return jnp.where(carried[:, None], 0.0, kl), -at[:, :-1]


def _closed_form_kl(
    rates: ReverseRates,
    *,
    log_g_sum: Float[Array, "batch length"],
    r_sum: Float[Array, "batch length"],
    log_p_clean: Float[Array, "batch num_neg length"],
    log_p_token: Float[Array, "batch length"],
    is_mask: Array,
    hit: Array,
    vocab_size: int,
) -> Float[Array, "batch num_neg length"]:
    """Sum q_k (log q_k - log p_k) over its distinct values; q(zt | zs=k) cancels in the ratio.

    The model has log p_k = log q(zt|zs=k) + log g_k; for q the network's guess is certain, so its r
    is 1 or ``odds`` at z0 and 0 elsewhere.
    """
    alpha_s, beta_s = rates.bar_s.alpha, rates.bar_s.beta
    step = rates.step

    def log_g(p0: Array, odds: Array, total: Array, alpha_s: Array, beta_s: Array) -> Array:
        return jnp.log(alpha_s * p0 * odds + beta_s * total)

    # The model's log g at zt (where r = p0) and at each clean token.
    usable = ~(rates.carry & ~is_mask)
    safe_sum = jnp.where(usable, r_sum, 1.0)
    log_g_token = log_g(jnp.exp(log_p_token), jnp.ones_like(alpha_s), safe_sum, alpha_s, beta_s)

    # From here on [batch num_neg length].
    alpha_s, beta_s, odds, stay = (x[:, None] for x in (alpha_s, beta_s, rates.odds, rates.stay))
    is_mask, log_g_token = is_mask[:, None], log_g_token[:, None]
    miss = ~is_mask & ~hit
    odds = jnp.where(miss & (odds > 0.0), odds, 1.0)
    log_g_clean = log_g(jnp.exp(log_p_clean), odds, safe_sum[:, None], alpha_s, beta_s)
    log_beta_s = jnp.log(jnp.where(beta_s > 0.0, beta_s, 1.0))

    # q(zt | zs=k), divided by q(zt | zt-like z0).
    elsewhere, at_token = step.beta[:, None], (step.alpha + step.beta)[:, None]
    gamma_bar_t = jnp.maximum(rates.bar_t.gamma, jnp.finfo(stay.dtype).tiny)[:, None]
    elsewhere = jnp.where(is_mask, step.gamma[:, None] / gamma_bar_t, elsewhere / stay)
    at_token = at_token / stay
    at_clean = jnp.where(hit, at_token, elsewhere)

    log_odds = jnp.log(odds)
    q_clean = at_clean * (alpha_s + beta_s) * odds
    q_token = jnp.where(miss, at_token * beta_s * odds, 0.0)
    q_other = elsewhere * beta_s * odds
    num_other = vocab_size - 1 - miss.astype(odds.dtype)
    log_g_other = log_g_sum[:, None] - log_g_clean - jnp.where(miss, log_g_token, 0.0)
    return (
        q_clean * (jnp.log(alpha_s + beta_s) + log_odds - log_g_clean)
        + q_token * (log_beta_s + log_odds - log_g_token)
        + q_other * (num_other * (log_beta_s + log_odds) - log_g_other)
    )


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
        With noise that is nearly absorbing, as the published schedule's, a network must say of a
        visible token that it stays: the noise has replaced it with a probability of about 1e-6,
        and a network that does not look pays for it a second time. A uniform guess scores about
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
    def add_step(total: Array, t: Int[Array, ""]) -> tuple[Array, None]:
        steps = jnp.full(z0.shape[:1], t)
        zt = q_sample(jax.random.fold_in(key, t), schedule, z0, steps)
        log_p0 = log_probs(denoise_fn(zt, steps, cond), zt, schedule.vocab_size)
        kl, _ = step_terms(schedule, log_p0, z0[:, None], zt, steps)
        return total + jnp.sum(kl[:, 0], axis=-1), None

    start = jnp.full(z0.shape[:1], prior_kl(schedule) * z0.shape[1])
    start = vary_like_result(lambda total: add_step(total, jnp.asarray(1))[0], start)
    nats, _ = jax.lax.scan(add_step, start, jnp.arange(1, schedule.num_steps + 1))
    return nats


def _probe(
    schedule: Schedule, key: PRNGKey, denoise_fn: DenoiseFn, z0: Tokens, cond: object
) -> None:
    denoise_fn(z0, jnp.ones(z0.shape[:1], jnp.int32), cond)
