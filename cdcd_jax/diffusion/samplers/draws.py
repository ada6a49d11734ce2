"""Draws from the reverse process, by one race of exponential noise over the tokens."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.diffusion.posterior import reverse_probs, reverse_rates
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.transitions import LOG_FLOOR
from cdcd_jax.typing import LogProbs, PRNGKey, Timesteps, Tokens


def sample_reverse(
    key: PRNGKey, schedule: Schedule, log_p0: LogProbs, zt: Tokens, s: Timesteps, t: Timesteps
) -> Tokens:
    """Draw zs ~ p(zs | zt, cond) from log p(z0 | zt, cond), which may hold -inf.

    The largest of probability / exponential noise wins, which is the Gumbel-max draw without its
    logarithms (log p + Gumbel = log(p / E) for E exponential). See `exponential` for its range.
    """
    tokens, mask = reverse_probs(reverse_rates(schedule, s, t), _probs(log_p0), zt)
    token_key, mask_key = jax.random.split(key)
    winner, best = _race(token_key, tokens, zt)
    mask_noise = exponential(mask_key, mask.shape).astype(mask.dtype)
    return jnp.where(mask / mask_noise > best, schedule.mask_id, winner)


def draw_visible(
    key: PRNGKey, schedule: Schedule, log_p0: LogProbs, zt: Tokens, s: Timesteps, t: Timesteps
) -> Tokens:
    """Draw zs ~ p(zs | zt, cond, zs is not a mask), for samplers that choose what stays masked.

    Args:
        key: Random key.
        schedule: The noise schedule.
        log_p0: log p(z0 | zt, cond), which may hold -inf.
        zt: Tokens at step t, values 0..K.
        s: Steps to go to, in 0..T-1.
        t: Steps of zt.

    Returns:
        Tokens 0..K-1: at a mask a clean token with the noise of step s, at a visible token what
        the exact posterior makes of it.
    """
    rates = reverse_rates(schedule, s, t)
    # How likely a token at s is masked at t is one factor for all tokens, and may be 0.
    rates = rates._replace(step=rates.step._replace(gamma=jnp.ones_like(rates.step.gamma)))
    return _race(key, reverse_probs(rates, _probs(log_p0), zt).tokens, zt)[0]


def draw_clean(key: PRNGKey, schedule: Schedule, log_p0: LogProbs) -> Tokens:
    """Draw z0 ~ p(z0 | zt, cond) at every position, of log-probabilities that may hold -inf."""
    masks = jnp.full(log_p0.shape[:2], schedule.mask_id)
    start = jnp.zeros(len(masks), masks.dtype)
    return draw_visible(key, schedule, log_p0, masks, start, start + 1)


def gumbel(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw float32 Gumbel noise over its full range, up to 22.9."""
    return -jnp.log(exponential(key, shape))


def exponential(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw float32 exponential noise down to 2**-33, so that its Gumbel goes up to 22.9.

    What matters for rare events is the smallest values. Those of `jax.random.exponential` and
    `jax.random.gumbel` end at 2**-24, a Gumbel of 16: tokens below about exp(-16) would hardly ever
    be drawn, which in effect lowers the temperature ("Masked Diffusion Models are Secretly
    Time-Agnostic Masked Models", Sec. 4). ``jax.random.gumbel(mode="high")`` has the range too, at
    six times the cost on CPU.
    """
    u = (jax.random.bits(key, shape, jnp.uint32).astype(jnp.float32) + 0.5) * 2.0**-32
    # -log(1 - u), by its series where 1 - u would round; the next term is below 1e-9 relative.
    series = u * (1.0 + u * (1 / 2 + u * (1 / 3 + u * (1 / 4))))
    return jnp.where(u < 2.0**-7, series, -jnp.log(jnp.maximum(1.0 - u, 2.0**-25)))


def _probs(log_p0: LogProbs) -> LogProbs:
    p = jnp.where(jnp.isneginf(log_p0), 0.0, jnp.exp(jnp.maximum(log_p0, LOG_FLOOR)))
    # By hand, as XLA's maximum and exponential on CPU may make a number of NaN.
    return jnp.where(jnp.isnan(log_p0), jnp.nan, p)


def _race(
    key: PRNGKey, tokens: Float[Array, "batch length K"], zt: Tokens
) -> tuple[Tokens, Float[Array, "batch length"]]:
    """Return which token has the largest probability / noise, and that ratio."""
    race = tokens / exponential(key, tokens.shape).astype(tokens.dtype)
    best = jnp.max(race, axis=-1)
    # Cheaper than argmax on CPU, whose reduction of pairs XLA does not vectorise.
    index = jnp.arange(race.shape[-1], dtype=zt.dtype)[None, None]
    return jnp.min(jnp.where(race == best[..., None], index, race.shape[-1]), axis=-1), best
