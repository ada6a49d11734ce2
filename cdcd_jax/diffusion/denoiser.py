"""Where a network's output enters the diffusion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.diffusion.checks import require
from cdcd_jax.typing import LogProbs, Tokens


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
    expected = (*zt.shape, vocab_size)
    if output.shape != expected:
        raise ValueError(
            f"{name} must return log-probabilities or logits of shape {expected} (batch, length, "
            f"K; the mask is not among the K), got {output.shape}"
        )
    wide = jnp.promote_types(output.dtype, jnp.float32)
    log_p = jax.nn.log_softmax(output.astype(wide), axis=-1)
    require(
        lambda log_p: log_p == log_p,
        f"{name} gives no probabilities: log p at [batch, length, token] = {{place}} is "
        "{value}; what it returns is NaN, +inf, or -inf for all tokens",
        log_p,
    )
    return log_p
