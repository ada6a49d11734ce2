"""The forward process: rates between any two steps, q(zt | zs), and noised tokens drawn from it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cdcd_jax.checks import check_key, check_steps, check_tokens
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.typing import PRNGKey, Tokens

LOG_FLOOR = -70.0
"""Smallest log-probability the core works with, the reference's too; exp(-70) is about 4e-31."""


NEARLY_ABSORBING = 1e-3
"""A share of visible tokens at T below which sampling starts from all masks."""


class Rates(NamedTuple):
    """Probabilities of one transition; any common shape.

    A real token stays with alpha (+ beta by chance), becomes each other token with beta, and is
    masked with gamma.
    """

    alpha: Array
    beta: Array
    gamma: Array


def cumulative_rates(schedule: Schedule, t: Int[Array, "*shape"]) -> Rates:
    """Return alpha_bar, beta_bar, gamma_bar at steps t in 0..T (row 0 is the identity)."""
    t = jnp.asarray(t).astype(jnp.int32)
    tables = (schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar)
    return Rates(*(jnp.asarray(table)[t] for table in tables))


def rates_between(schedule: Schedule, s: Int[Array, "*shape"], t: Int[Array, "*shape"]) -> Rates:
    """Return the exact rates of going from step s to step t in one jump.

    alpha = alpha_bar_t / alpha_bar_s and 1 - gamma = (1-gamma_bar_t) / (1-gamma_bar_s). The
    replacement rate (1 - alpha - gamma) / K is written as
    (beta_bar_t - beta_bar_s alpha) / (1-gamma_bar_s), the same number without the cancellation.

    Args:
        schedule: The noise schedule.
        s: Earlier steps, in 0..T-1.
        t: Later steps, in 1..T, each greater than its s.

    Returns:
        Rates of the shape of t. Adjacent steps come from the float64 tables; wider jumps are
        computed in the working float type.
    """
    s, t = (jnp.asarray(step).astype(jnp.int32) for step in (s, t))  # s + 1 may not be an int8
    alpha_bar, beta_bar = jnp.asarray(schedule.alpha_bar), jnp.asarray(schedule.beta_bar)
    keep_bar = jnp.asarray(schedule.keep_bar)
    # alpha_bar_t = alpha_bar_s alpha, 1 - gamma_bar_t = (1 - gamma_bar_s) (1 - gamma) and
    # beta_bar_t = beta_bar_s alpha + (1 - gamma_bar_s) beta (VQ-Diffusion Eq. 8), solved.
    alpha = alpha_bar[t] / alpha_bar[s]
    jump = Rates(
        alpha,
        jnp.maximum((beta_bar[t] - beta_bar[s] * alpha) / keep_bar[s], 0.0),
        1.0 - keep_bar[t] / keep_bar[s],
    )
    step = Rates(*(jnp.asarray(x)[t] for x in (schedule.alpha, schedule.beta, schedule.gamma)))
    adjacent = s + 1 == t  # of the tables, where float64 has divided
    return Rates(*(jnp.where(adjacent, a, b) for a, b in zip(step, jump, strict=True)))


def log_q(
    schedule: Schedule, zs: Tokens, s: Int[Array, " batch"], t: Int[Array, " batch"]
) -> Float[Array, "batch length classes"]:
    """Return log q(zt = k | zs) for every k (VQ-Diffusion Eq. 8 for s = 0).

    Args:
        schedule: The noise schedule.
        zs: Tokens at step s, values 0..K (clean data when s = 0).
        s: Earlier steps, in 0..T-1.
        t: Later steps, in 1..T.

    Returns:
        Normalised log-probabilities over the K tokens and the mask, floored at -70.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=2, vocab_size=2)
        >>> steps = jnp.array([0]), jnp.array([1])
        >>> jnp.exp(log_q(schedule, jnp.array([[1, 2]]), *steps)).round(2).tolist()
        [[[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]]
    """
    check_schedule(schedule)
    num_tokens = schedule.vocab_size
    check_tokens("zs", zs, num_tokens, mask=True)
    check_steps(t, zs.shape[0], schedule.num_steps, s)
    alpha, beta, gamma = (rate[:, None, None] for rate in rates_between(schedule, s, t))
    # Columns of Q_{t|s} (VQ-Diffusion Eq. 7): a token stays, is replaced or masked; a mask stays.
    same = jax.nn.one_hot(zs, num_tokens)
    is_mask = (zs == schedule.mask_id)[..., None]
    tokens = jnp.where(is_mask, 0.0, alpha * same + beta)
    mask = jnp.where(is_mask, 1.0, gamma)
    return safe_log(jnp.concatenate([tokens, mask], axis=-1))


def q_sample(
    key: PRNGKey,
    schedule: Schedule,
    zs: Tokens,
    t: Int[Array, " batch"],
    s: Int[Array, " batch"] | None = None,
) -> Tokens:
    """Draw zt ~ q(zt | zs), by default from clean tokens (s = 0).

    Three independent choices per token, so nothing of size K is made: mask or not, replace or not,
    by which. The probabilities are compared with 32 random bits, as a float32 uniform number cannot
    resolve the published share of 1e-6.

    Args:
        key: Random key.
        schedule: The noise schedule.
        zs: Tokens at step s.
        t: Later steps, in 1..T.
        s: Earlier steps, each smaller than its t; None for clean data.

    Returns:
        Tokens at step t, values 0..K.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=5, vocab_size=9)
        >>> q_sample(jax.random.key(0), schedule, jnp.array([[3, 4]]), jnp.array([5])).tolist()
        [[9, 9]]
    """
    check_key(key)
    check_schedule(schedule)
    check_tokens("zs", zs, schedule.vocab_size, mask=True)
    check_steps(t, zs.shape[0], schedule.num_steps, s)
    return corrupt(key, schedule, jnp.asarray(zs), t, s)


def corrupt(
    key: PRNGKey,
    schedule: Schedule,
    zs: Tokens,
    t: Int[Array, " batch"],
    s: Int[Array, " batch"] | None = None,
) -> Tokens:
    """Draw zt ~ q(zt | zs) as `q_sample`, of arguments that were checked."""
    mask_key, replace_key, token_key = jax.random.split(key, 3)
    s = jnp.zeros_like(t) if s is None else s
    alpha, beta, gamma = (rate[:, None] for rate in rates_between(schedule, s, t))
    uniform = schedule.vocab_size * beta
    masked = _bernoulli(mask_key, jnp.broadcast_to(gamma, zs.shape))
    # P(replaced | not masked) = K beta / (K beta + alpha): alpha + K beta + gamma = 1, and where
    # all is masked, 0 / 0 is to be 0.
    share = uniform / jnp.maximum(uniform + alpha, jnp.finfo(alpha.dtype).tiny)
    replaced = _bernoulli(replace_key, jnp.broadcast_to(share, zs.shape))
    token = jax.random.randint(token_key, zs.shape, 0, schedule.vocab_size, dtype=zs.dtype)
    zt = jnp.where(replaced, token, zs)
    return jnp.where(masked | (zs == schedule.mask_id), schedule.mask_id, zt)


def sample_prior(key: PRNGKey, schedule: Schedule, shape: tuple[int, int]) -> Tokens:
    """Draw zT ~ p(zT): masks with gamma_bar_T, else any token, by the same chance.

    Where less than `NEARLY_ABSORBING` of the tokens are visible at T, as with the published
    schedule (1e-5), all are masks: most of those visible are clean ones, so that a network believes
    what it sees there, and one drawn at random would stay in the sample.

    Args:
        key: Random key.
        schedule: The noise schedule.
        shape: Batch and length.

    Returns:
        Tokens 0..K.

    Example:
        >>> from cdcd_jax.diffusion.schedule import mask_replace_schedule
        >>> published = mask_replace_schedule(num_steps=5, vocab_size=9)
        >>> sample_prior(jax.random.key(0), published, (1, 4)).tolist()
        [[9, 9, 9, 9]]
        >>> uniform = mask_replace_schedule(num_steps=5, vocab_size=9, final_uniform=0.9)
        >>> sample_prior(jax.random.key(0), uniform, (1, 4)).tolist()
        [[8, 7, 7, 3]]
    """
    visible_key, token_key = jax.random.split(key)
    keep = jnp.asarray(schedule.keep_bar)[-1]
    keep = jnp.where(keep < NEARLY_ABSORBING, 0.0, keep)  # the prior, or all masks
    visible = _bernoulli(visible_key, jnp.broadcast_to(keep, shape))
    token = jax.random.randint(token_key, shape, 0, schedule.vocab_size)
    return jnp.where(visible, token, schedule.mask_id)


def safe_log(p: Array) -> Array:
    """Return log(p) floored at `LOG_FLOOR`; the gradient is zero below the floor."""
    return jnp.log(jnp.maximum(p, jnp.exp(jnp.asarray(LOG_FLOOR, p.dtype))))


def _bernoulli(key: PRNGKey, p: Float[Array, "*shape"]) -> Array:
    """Draw True with probability p, resolved to 2**-32."""
    bits = jax.random.bits(key, p.shape, jnp.uint32)
    # p is rounded to a multiple of 2**-32 by comparing integers; p = 1 would overflow one.
    threshold = jnp.minimum(p, 1.0 - 2.0**-24) * 2.0**32
    return (bits < threshold.astype(jnp.uint32)) | (p >= 1.0)
