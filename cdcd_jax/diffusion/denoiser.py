"""Where a network's output enters the diffusion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.checks import check_array, require
from cdcd_jax.typing import DenoiseFn, LogProbs, Timesteps, Tokens, wide_dtype


def with_checked_output(denoise_fn: DenoiseFn, *, features: bool) -> DenoiseFn:
    """Check that a network returns an array before anything is done with its output.

    Args:
        denoise_fn: The network.
        features: Whether it returns features for a head, in place of log p(z0 | zt, cond).

    Returns:
        A function of the same form, which raises a ValueError for another output.
    """
    shape = "batch length width" if features else "batch length K"

    def call(zt: Tokens, t: Timesteps, cond: object) -> Array:
        output = denoise_fn(zt, t, cond)
        check_array("the output of denoise_fn", output, shape)
        return output

    return call


def log_probs(output: Array, zt: Tokens, vocab_size: int, *, name: str = "denoise_fn") -> LogProbs:
    """Check and normalise what a network returns, wherever one is called.

    Args:
        output: log p(z0 | zt, cond), or logits: the same up to a constant for each position.
        zt: The noised tokens that it was given.
        vocab_size: K.
        name: What the network is called.

    Returns:
        Normalised log-probabilities in float32 or better. Those that were normalised change by
        their rounding error only; -inf stays.

    Raises:
        ValueError: The shape is another than [batch length K], or there is a NaN.

    Example:
        >>> logits = jnp.array([[[1.0, 3.0]]])
        >>> print(jnp.exp(log_probs(logits, jnp.array([[2]]), 2)).round(2))
        [[[0.12 0.88]]]
    """
    check_array(f"the output of {name}", output, "batch length K")
    expected = (*zt.shape, vocab_size)
    if output.shape != expected:
        raise ValueError(
            f"{name} must return log-probabilities or logits of shape {expected} (batch, length, "
            f"K; the mask is not among the K), got {output.shape}"
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(
            f"{name} must return log-probabilities or logits in floats, got {output.dtype}"
        )
    log_p = jax.nn.log_softmax(output.astype(wide_dtype(output.dtype)), axis=-1)
    require(
        lambda log_p: log_p == log_p,
        f"{name} gives no probabilities: log p at [batch, length, token] = {{place}} is "
        "{value}; what it returns is NaN, +inf, or -inf for all tokens",
        log_p,
    )
    return log_p
