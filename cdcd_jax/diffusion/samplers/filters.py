"""Filters of log-probabilities: truncation by mass, top-k and temperature, without a sort.

Both filters keep every token at least as probable as some threshold, so they differ from a sort
only in ties: tokens of equal probability stay or go together (a sort would pick some of them).
The threshold is found by bisection on the bits of the float, exactly: positive floats are ordered
as their bit patterns are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_count, check_scalar, is_traced, require
from cdcd_jax.diffusion.sharding import by_device, vary_like_result
from cdcd_jax.typing import LogProbs, Number

SMALLEST, LARGEST = (float(jnp.finfo(jnp.float32).tiny), float(jnp.finfo(jnp.float32).max))


def truncate(log_p: LogProbs, r: Number) -> LogProbs:
    """Keep the most likely tokens up to and including the one with which their mass reaches r.

    Truncation sampling of VQ-Diffusion (Sec. 4.2, r = 0.86), renormalised (the reference is not).

    Args:
        log_p: Normalised log-probabilities over the last axis.
        r: Mass to keep, in (0, 1]; 1 keeps all. It may be traced.

    Returns:
        Normalised log-probabilities, -inf at the tokens that are dropped.

    Example:
        >>> p = jnp.array([[[0.5, 0.3, 0.15, 0.05]]])
        >>> print(jnp.exp(truncate(jnp.log(p), 0.7)).round(3))
        [[[0.625 0.375 0.    0.   ]]]
    """
    check_truncation(r)

    def change() -> LogProbs:
        p = jnp.exp(log_p)
        # Below the last token that is kept there is 1 - r at most, of fewer than K tokens.
        least = 0.99 * (1.0 - r) / p.shape[-1]
        # A sum of float32 is exact to about 1e-6, which matters where tokens are that rare.
        threshold, mass = _search(p, p, r, least, lambda low: 1.99 * low - 1e-5)
        return jnp.where(p < threshold, -jnp.inf, log_p - jnp.log(mass))

    return _skip_if(r >= 1.0, log_p, change)


def keep_top_k(log_p: LogProbs, k: int) -> LogProbs:
    """Keep the k most likely tokens, and those tied with the last of them; renormalise.

    Args:
        log_p: Normalised log-probabilities over the last axis.
        k: Tokens to keep, at least 1; K or more keeps all.

    Returns:
        Normalised log-probabilities, -inf at the tokens that are dropped.

    Example:
        >>> p = jnp.array([[[0.5, 0.3, 0.15, 0.05]]])
        >>> jnp.exp(keep_top_k(jnp.log(p), 1)).tolist()
        [[[1.0, 0.0, 0.0, 0.0]]]
    """
    check_count("top_k", k)
    if k >= log_p.shape[-1]:
        return log_p
    p = jnp.exp(log_p)
    threshold, _ = _search(p, jnp.ones_like(p), float(k), 0.0, lambda low: jnp.full_like(low, 1.5))
    return jax.nn.log_softmax(jnp.where(p < threshold, -jnp.inf, log_p), axis=-1)


def apply_temperature(log_p: LogProbs, temperature: Number) -> LogProbs:
    """Return log p^(1/temperature), normalised; below 1 sharpens. It may be traced."""
    check_temperature(temperature)

    def change() -> LogProbs:
        # The largest is taken off first, so that no temperature makes all of them infinite.
        below = log_p - jnp.max(log_p, axis=-1, keepdims=True)
        return jax.nn.log_softmax(below / temperature, axis=-1)

    return _skip_if(temperature == 1.0, log_p, change)


def check_truncation(r: Number) -> None:
    """Raise a ValueError unless a mass to keep is in (0, 1], as far as it is known."""
    check_scalar("truncation", r)
    require(lambda r: (r > 0.0) & (r <= 1.0), "truncation must be in (0, 1], got {value}", r)


def check_temperature(temperature: Number) -> None:
    """Raise a ValueError unless a temperature is positive in float32, as far as it is known."""
    check_scalar("temperature", temperature)
    # Beyond float32 it would be 0 or inf there, which leaves NaN, and so nothing but masks.
    require(
        lambda x: (x >= SMALLEST) & (x <= LARGEST),
        f"temperature must be positive, {SMALLEST:.3g} to {LARGEST:.3g} as float32, got {{value}}",
        temperature,
    )


def _skip_if(off: bool | Array, log_p: LogProbs, change: Callable[[], LogProbs]) -> LogProbs:
    """Return what a filter makes of log p, which costs nothing where it is off, traced or not."""
    if is_traced(off):
        return jax.lax.cond(off, lambda: log_p, change)
    return log_p if off else change()


def _search(
    p: LogProbs,
    weight: Float[Array, "batch length K"],
    wanted: Number,
    least: Number,
    single: Callable[[Array], Array],
) -> tuple[Float[Array, "batch length 1"], Float[Array, "batch length 1"]]:
    """Find the largest threshold of probability at which the weights add up to what is wanted.

    Args:
        p: Probabilities.
        weight: What each token adds.
        wanted: The sum to be reached; that of all tokens reaches it.
        least: A lower bound of the threshold.
        single: Of a lower bound, what the weights of two tokens above it exceed.

    Returns:
        The threshold, and the sum there.
    """

    def as_bits(x: Array) -> Array:
        return jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)

    def as_float(bits: Array) -> Array:
        return jax.lax.bitcast_convert_type(bits, jnp.float32).astype(p.dtype)

    def unfinished(bounds: tuple[Array, ...]) -> Array:
        low, high, at_low, at_high = bounds
        return jnp.any((at_low - at_high > single(as_float(low))) & (high - low > 1))

    def search(p: LogProbs, weight: Float[Array, "batch length K"]) -> tuple[Array, Array]:
        def halve(bounds: tuple[Array, ...]) -> tuple[Array, ...]:
            low, high, at_low, at_high = bounds
            middle = low + (high - low) // 2
            total = jnp.sum(jnp.where(p >= as_float(middle), weight, 0.0), axis=-1, keepdims=True)
            good = total >= wanted
            return (
                jnp.where(good, middle, low),
                jnp.where(good, high, middle),
                jnp.where(good, total, at_low),
                jnp.where(good, at_high, total),
            )

        # Enough is kept at low, and not at high, between which one token is left in the end.
        high = as_bits(jnp.max(p, axis=-1, keepdims=True)) + 1
        low = jnp.minimum(as_bits(jnp.full(high.shape, least)), high - 1)
        bounds = low, high, jnp.sum(weight, axis=-1, keepdims=True), jnp.zeros(high.shape, p.dtype)
        bounds = jax.lax.while_loop(unfinished, halve, vary_like_result(halve, bounds))
        return as_float(bounds[0]), bounds[2]

    return by_device(search, p, weight)
