"""Normalisation and checks of a network's output, where it enters the diffusion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.checks import check_array, check_function, require
from cdcd_jax.typing import DenoiseFn, HeadFn, LogProbs, Timesteps, Tokens, wide_dtype


def check_outputs(denoise_fn: DenoiseFn, *, features: bool = False) -> DenoiseFn:
    """Check what a network of the user's returns, before anything is done with it.

    Args:
        denoise_fn: The network.
        features: Whether it returns features for a head, in place of log p(z0 | zt, cond).

    Returns:
        A function of the same form. It raises a ValueError where the output is not an array or,
        where that is known, holds no probabilities.
    """

    def call(zt: Tokens, t: Timesteps, cond: object) -> Array:
        output = denoise_fn(zt, t, cond)
        if features:
            check_array("the output of denoise_fn", output, "batch length width")
        else:
            check_output("denoise_fn", output)
        return output

    return call


def check_network(denoise_fn: DenoiseFn, head_fn: HeadFn | None) -> tuple[DenoiseFn, HeadFn | None]:
    """Check what a network of the user's returns, which may be in two parts.

    Returns:
        Functions of the same form, that of `check_outputs` and one for the head.
    """
    denoise_fn = check_outputs(denoise_fn, features=head_fn is not None)
    if head_fn is None:
        return denoise_fn, None
    check_function("head_fn", head_fn, "(hidden)")

    def checked_head(hidden: Array) -> Array:
        output = head_fn(hidden)
        check_output("head_fn", output)
        return output

    return denoise_fn, checked_head


def check_output(name: str, output: Array) -> None:
    """Raise a ValueError unless an output is an array without NaN, +inf, or -inf for all tokens."""
    check_array(f"the output of {name}", output, "batch length K")
    if not output.ndim or not jnp.issubdtype(output.dtype, jnp.floating):
        return  # which `log_probs` says
    require(
        lambda x: (x == x) & (x < float("inf")) & (x > -float("inf")).any(axis=-1, keepdims=True),
        f"{name} gives no probabilities: what it returns at [batch, length, token] = {{place}} is "
        "{value}; NaN, +inf, or -inf for all tokens have no softmax",
        output,
    )


def log_probs(output: Array, zt: Tokens, vocab_size: int, *, name: str = "denoise_fn") -> LogProbs:
    """Normalise what a network returns, wherever one is called.

    Args:
        output: log p(z0 | zt, cond), or logits: the same up to a constant for each position.
        zt: The noised tokens that it was given.
        vocab_size: K.
        name: What the network is called.

    Returns:
        Normalised log-probabilities in float32 or better. Those that were normalised change by
        their rounding error only; -inf stays.

    Raises:
        ValueError: The shape is another than [batch length K]: a head of K+1 outputs, too.

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
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(
            f"{name} must return log-probabilities or logits in floats, got {output.dtype}"
        )
    return jax.nn.log_softmax(output.astype(wide_dtype(output.dtype)), axis=-1)
