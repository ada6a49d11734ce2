"""The terms of the bound: KL and log-likelihood of clean sequences under the prediction.

q(zs | zt, z0) takes at most four distinct values over the K+1 classes (at z0, at zt, at the mask,
everywhere else), so KL(q || p) needs log p at two tokens and its sum over all of them. The sum is
one pass over [batch length K] that any number of clean sequences share; each then costs gathers.
"""

from collections.abc import Sequence
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cdcd_jax.diffusion.contrastive import SequenceTerms
from cdcd_jax.diffusion.denoiser import log_probs
from cdcd_jax.diffusion.posterior import ReverseRates, reverse_rates, reverse_weights
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.transitions import LOG_FLOOR
from cdcd_jax.typing import HeadFn, LogProbs, Negatives, Timesteps, Tokens


def sum_terms(
    schedule: Schedule,
    t: Timesteps,
    output: Array,
    clean: Negatives,
    zt: Tokens,
    *,
    mask_weight: tuple[float, float] = (1.0, 1.0),
    head_fn: HeadFn | None = None,
) -> SequenceTerms:
    """Sum `step_terms` over positions, which may be some of a sequence.

    Args:
        schedule: The noise schedule.
        t: Step of each example, 1..T.
        output: log p(z0 | zt, cond) or logits, or hidden features with ``head_fn``.
        clean: Sequences to score.
        zt: Noised tokens.
        mask_weight: Weight of masked and of unmasked positions at t > 1; the decoder's likelihood
            at t = 1 counts every position once.
        head_fn: ``(hidden) -> log p(z0 | zt, cond)`` or logits, position by position.

    Returns:
        The terms of each sequence.
    """
    name = "denoise_fn"
    if head_fn is not None:
        output, name = head_fn(output), "head_fn"
    log_p0 = log_probs(output, zt, schedule.vocab_size, name=name)
    kl, nll = step_terms(schedule, log_p0, clean, zt, t)
    masked, unmasked = mask_weight
    weight = jnp.where(zt == schedule.mask_id, masked, unmasked)
    weight = jnp.where(t[:, None] == 1, 1.0, weight)[:, None]
    return SequenceTerms(jnp.sum(kl * weight, axis=-1), jnp.sum(nll * weight, axis=-1))


def split_terms(terms: SequenceTerms, parts: Sequence[Array]) -> list[SequenceTerms]:
    """Split the terms of joined sequences, equally many for each part."""
    ends = np.cumsum([0, *(part.shape[1] for part in parts)])
    return [
        SequenceTerms(terms.kl[:, start:end], terms.nll[:, start:end])
        for start, end in pairwise(ends)
    ]


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

    # sum_k log g_k, the one pass over all K that positive and negatives share.
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

    The model has log p_k = log q(zt|zs=k) + log g_k; for q the prediction of z0 is certain, so its
    r is 1 or ``odds`` at z0 and 0 elsewhere: log g_k = log(alpha_bar_s r_k + beta_bar_s sum(r)).
    """
    alpha_s, beta_s = rates.bar_s.alpha, rates.bar_s.beta
    step = rates.step

    # The model's log g at zt, where r = p0. Carried positions count nothing (the caller's `where`),
    # but a log of 0 in the branch not taken would still give NaN gradients.
    r_sum = jnp.where(rates.carry & ~is_mask, 1.0, r_sum)
    log_g_token = jnp.log(alpha_s * jnp.exp(log_p_token) + beta_s * r_sum)

    # From here on [batch num_neg length]. ``hit``: zt shows the clean token; ``miss``: another.
    alpha_s, beta_s, odds, stay = (x[:, None] for x in (alpha_s, beta_s, rates.odds, rates.stay))
    is_mask, log_g_token = is_mask[:, None], log_g_token[:, None]
    miss = ~is_mask & ~hit
    odds = jnp.where(miss & (odds > 0.0), odds, 1.0)
    # ... and at each clean token, where r = p0 odds after a miss and p0 otherwise.
    log_g_clean = jnp.log(alpha_s * jnp.exp(log_p_clean) * odds + beta_s * r_sum[:, None])
    log_beta_s = jnp.log(jnp.where(beta_s > 0.0, beta_s, 1.0))

    # q(zt | zs=k) of the step s -> t, divided by q(zt | z0 = zt), or by gamma_bar_t at a mask: the
    # factor that r was scaled by (VQ-Diffusion Eq. 5).
    elsewhere, at_token = step.beta[:, None], (step.alpha + step.beta)[:, None]
    gamma_bar_t = jnp.maximum(rates.bar_t.gamma, jnp.finfo(stay.dtype).tiny)[:, None]
    elsewhere = jnp.where(is_mask, step.gamma[:, None] / gamma_bar_t, elsewhere / stay)
    at_token = at_token / stay
    at_clean = jnp.where(hit, at_token, elsewhere)

    # q(zs=k | zt, z0) at k = z0, at k = zt where that is another token, and at every other k.
    log_odds = jnp.log(odds)
    q_clean = at_clean * (alpha_s + beta_s) * odds
    q_token = jnp.where(miss, at_token * beta_s * odds, 0.0)
    q_other = elsewhere * beta_s * odds
    # The other classes share one q, so their log p is needed in sum only: all less the two above.
    num_other = vocab_size - 1 - miss.astype(odds.dtype)
    log_g_other = log_g_sum[:, None] - log_g_clean - jnp.where(miss, log_g_token, 0.0)
    # The mask, k = K, has the same log-probability under q and p and adds nothing.
    return (
        q_clean * (jnp.log(alpha_s + beta_s) + log_odds - log_g_clean)
        + q_token * (log_beta_s + log_odds - log_g_token)
        + q_other * (num_other * (log_beta_s + log_odds) - log_g_other)
    )
