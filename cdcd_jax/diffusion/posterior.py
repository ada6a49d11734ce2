"""The reverse process: p(zs | zt, cond) from the network's prediction of the clean tokens.

With r_k = p(z0=k | zt, cond) / q(zt | z0=k), Bayes' rule and the chain z0 -> zs -> zt give

    p(zs=k | zt, cond) = q(zt | zs=k) [alpha_bar_s r_k + beta_bar_s sum(r)],   k < K
    p(zs=K | zt, cond) = gamma_bar_s sum(r)   where zt is the mask, else 0

(VQ-Diffusion Eq. 5 and 11): one pass over K, no matrix of size (K+1)^2. Here r is kept up to a
factor per position, chosen so that the common case, an unmasked token the network agrees with, is
of order one and loses no digits in float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_steps, check_tokens
from cdcd_jax.diffusion.denoiser import check_output, log_probs
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.transitions import (
    LOG_FLOOR,
    Rates,
    cumulative_rates,
    rates_between,
    safe_log,
)
from cdcd_jax.typing import LogProbs, Timesteps, Tokens


class ReverseRates(NamedTuple):
    """The rates of the schedule in a reverse step t -> s, each [batch 1].

    Attributes:
        bar_s: Cumulative rates at s.
        bar_t: Cumulative rates at t.
        step: Rates of s -> t.
        stay: q(zt = v | z0 = v) for a real token v: alpha_bar_t + beta_bar_t.
        odds: q(zt = v | z0 = v) / q(zt = v | z0 = k), k != v; 0 where replacement is impossible.
        carry: Replacement is impossible (beta_bar_t = 0), so unmasked tokens are clean.
    """

    bar_s: Rates
    bar_t: Rates
    step: Rates
    stay: Array
    odds: Array
    carry: Array


def reverse_rates(schedule: Schedule, s: Timesteps, t: Timesteps) -> ReverseRates:
    """Collect the rates of the reverse step from t to s for every example."""
    # Two bar tables and the jump between them, each broadcast over positions.
    bar_s, bar_t, step = (
        Rates(*(rate[:, None] for rate in rates))
        for rates in (
            cumulative_rates(schedule, s),
            cumulative_rates(schedule, t),
            rates_between(schedule, s, t),
        )
    )
    carry = bar_t.beta <= 0.0
    stay = bar_t.alpha + bar_t.beta
    odds = jnp.where(carry, 0.0, stay / jnp.where(carry, 1.0, bar_t.beta))
    # Where a token cannot have survived to t (alpha_bar_t = beta_bar_t = 0) nothing is divided.
    return ReverseRates(bar_s, bar_t, step, jnp.where(stay > 0.0, stay, 1.0), odds, carry)


class ReverseWeights(NamedTuple):
    """Bayes' numerators of a reverse step, see `reverse_weights`."""

    g: Float[Array, "batch length K"]
    r_sum: Float[Array, "batch length 1"]


def reverse_weights(rates: ReverseRates, p0: LogProbs, zt: Tokens) -> ReverseWeights:
    """Return g_k = alpha_bar_s r_k + beta_bar_s sum(r), and sum(r).

    r_k = p0_k where zt is the mask; else r_k = p0_k for k = zt and p0_k * odds elsewhere. Both are
    r times q(zt | z0 = zt) (or gamma_bar_t).

    Args:
        rates: Rates of the step.
        p0: Probabilities of the clean token, not their logarithms.
        zt: Noised tokens, values 0..K.

    Returns:
        Non-negative weights over the K real tokens and their common sum.
    """
    num_tokens = p0.shape[-1]
    is_mask = (zt == num_tokens)[..., None]
    same = zt[..., None] == jnp.arange(num_tokens, dtype=zt.dtype)[None, None]  # k = zt
    # At a mask r_k = p0_k / gamma_bar_t. At a token r_k = p0_k / (alpha_bar_t + beta_bar_t) for
    # k = zt and p0_k / beta_bar_t elsewhere. Times the first denominator: p0_k, and p0_k odds.
    r = jnp.where(same | is_mask, p0, p0 * rates.odds[..., None])
    # beta_bar_t = 0: only k = zt can have become zt, whatever p0 says.
    r = jnp.where(rates.carry[..., None] & ~is_mask, same.astype(p0.dtype), r)
    r_sum = jnp.sum(r, axis=-1, keepdims=True)
    g = rates.bar_s.alpha[..., None] * r + rates.bar_s.beta[..., None] * r_sum
    return ReverseWeights(g, r_sum)


class ReverseProbs(NamedTuple):
    """p(zs | zt, cond), up to one factor per position: over the K tokens, and of the mask."""

    tokens: Float[Array, "batch length K"]
    mask: Float[Array, "batch length"]


def reverse_probs(rates: ReverseRates, p0: LogProbs, zt: Tokens) -> ReverseProbs:
    """Return p(zs = k | zt, cond), given p0 = p(z0 | zt, cond); not normalised."""
    num_tokens = p0.shape[-1]
    g, r_sum = reverse_weights(rates, p0, zt)
    is_mask = (zt == num_tokens)[..., None]
    same = zt[..., None] == jnp.arange(num_tokens, dtype=zt.dtype)[None, None]
    # arrive = q(zt | zs=k): beta, and alpha more at k = zt; gamma into the mask from any token.
    arrive = rates.step.beta[..., None] + rates.step.alpha[..., None] * same.astype(p0.dtype)
    arrive = jnp.where(is_mask, rates.step.gamma[..., None], arrive)
    # zs = K only where zt = K, as a mask stays a mask: q(zt=K | zs=K) = 1.
    mask = jnp.where(is_mask, rates.bar_s.gamma[..., None] * r_sum, 0.0)
    return ReverseProbs(arrive * g, mask[..., 0])


def log_reverse_probs(
    rates: ReverseRates, p0: LogProbs, zt: Tokens
) -> Float[Array, "batch length K+1"]:
    """Return log p(zs = k | zt, cond) over the K tokens and the mask, normalised and floored."""
    tokens, mask = reverse_probs(rates, p0, zt)
    gamma_bar_t = jnp.maximum(rates.bar_t.gamma, jnp.finfo(p0.dtype).tiny)
    # Undo the scale of r, so that the probabilities sum to 1.
    scale = jnp.where(zt == p0.shape[-1], gamma_bar_t, rates.stay)[..., None]
    return safe_log(jnp.concatenate([tokens, mask[..., None]], axis=-1) / scale)


def log_posterior(
    schedule: Schedule, log_p0: LogProbs, zt: Tokens, s: Timesteps, t: Timesteps
) -> Float[Array, "batch length K+1"]:
    """Return log p(zs | zt, cond), the model's reverse step (VQ-Diffusion Eq. 11).

    Args:
        schedule: The noise schedule.
        log_p0: log p(z0 | zt, cond) over the K real tokens, or logits.
        zt: Noised tokens, values 0..K.
        s: Steps to go to, in 0..T-1.
        t: Steps of zt, each greater than its s; any distance is exact.

    Returns:
        Normalised log-probabilities over the K tokens and the mask, floored at -70. With a pure
        absorbing schedule an unmasked token is carried over, whatever log_p0 says.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=4, vocab_size=2)
        >>> log_p0 = jnp.log(jnp.array([[[0.25, 0.75]]]))
        >>> steps = jnp.array([1]), jnp.array([2])
        >>> print(jnp.exp(log_posterior(schedule, log_p0, jnp.array([[2]]), *steps)).round(3))
        [[[0.125 0.375 0.5  ]]]
    """
    check_schedule(schedule)
    check_tokens("zt", zt, schedule.vocab_size, mask=True)
    check_steps(t, zt.shape[0], schedule.num_steps, s)
    zt = jnp.asarray(zt)
    check_output("log_p0", log_p0)
    log_p0 = log_probs(log_p0, zt, schedule.vocab_size, name="log_p0")
    rates = reverse_rates(schedule, s, t)
    return log_reverse_probs(rates, jnp.exp(jnp.maximum(log_p0, LOG_FLOOR)), zt)


def log_q_posterior(
    schedule: Schedule, z0: Tokens, zt: Tokens, s: Timesteps, t: Timesteps
) -> Float[Array, "batch length classes"]:
    """Return log q(zs | zt, z0), the forward process's own posterior (VQ-Diffusion Eq. 5).

    Args:
        schedule: The noise schedule.
        z0: Clean tokens, values 0..K-1.
        zt: Noised tokens, values 0..K.
        s: Steps to go to, in 0..T-1.
        t: Steps of zt, each greater than its s.

    Returns:
        Normalised log-probabilities over the K tokens and the mask, floored at -70.
    """
    check_schedule(schedule)
    check_tokens("z0", z0, schedule.vocab_size)
    check_tokens("zt", zt, schedule.vocab_size, mask=True)
    if z0.shape != zt.shape:
        raise ValueError(f"zt must have the shape of z0, {z0.shape}, got {zt.shape}")
    zt = jnp.asarray(zt)
    check_steps(t, zt.shape[0], schedule.num_steps, s)
    p0 = jax.nn.one_hot(z0, schedule.vocab_size)
    return log_reverse_probs(reverse_rates(schedule, s, t), p0, zt)
