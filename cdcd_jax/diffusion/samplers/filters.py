"""Filters of log-probabilities: truncation by mass, top-k and temperature, without a sort.

Both filters keep every token at least as probable as some threshold, so they differ from a sort
only in ties: tokens of equal probability stay or go together (a sort would pick some of them).
The threshold is found by bisection on the bits of the float, exactly: positive floats are ordered
as their bit patterns are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.checks import check_count, check_scalar, is_traced, require
from cdcd_jax.diffusion.sharding import vary_like_result
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
    p = jnp.exp(log_p)

    def enough(threshold: Array) -> Array:
        return jnp.sum(jnp.where(p >= threshold, p, 0.0), axis=-1, keepdims=True) >= r

    return _skip_if(r >= 1.0, log_p, lambda: _keep(log_p, p, enough))


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

    def enough(threshold: Array) -> Array:
        return jnp.sum(p >= threshold, axis=-1, keepdims=True) >= k

    return _keep(log_p, p, enough)


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


def _keep(log_p: LogProbs, p: LogProbs, enough) -> LogProbs:
    """Drop what lies below the largest threshold at which enough is kept; renormalise."""
    p_max = jnp.max(p, axis=-1, keepdims=True)
    low = jnp.zeros(p_max.shape, jnp.int32)  # enough is kept at 0 ...
    high = jax.lax.bitcast_convert_type(p_max.astype(jnp.float32), jnp.int32) + 1  # ... not here

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        good = enough(jax.lax.bitcast_convert_type(middle, jnp.float32).astype(p.dtype))
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    bounds = vary_like_result(lambda bounds: halve(jnp.asarray(0), bounds), (low, high))
    low, _ = jax.lax.fori_loop(0, 31, halve, bounds)
    threshold = jax.lax.bitcast_convert_type(low, jnp.float32).astype(p.dtype)
    kept = jnp.where(p >= threshold, log_p, -jnp.inf)
    return kept - jax.nn.logsumexp(kept, axis=-1, keepdims=True)
