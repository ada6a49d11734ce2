"""Classifier-free guidance: a guess that listens to its condition more than the network does."""

from typing import Any

import jax
import jax.numpy as jnp

from cdcd_jax.diffusion.transitions import LOG_FLOOR
from cdcd_jax.typing import DenoiseFn, LogProbs, Timesteps, Tokens


def guide(log_cond: LogProbs, log_null: LogProbs, scale: float) -> LogProbs:
    """Move a guess away from what the network would say without the condition.

    log p = log_null + scale (log_cond - log_null), normalised (Ho and Salimans 2021; Improved
    VQ-Diffusion Eq. 8, where s = scale - 1). Tokens that the condition makes likelier gain by
    the power of scale.

    Args:
        log_cond: log p(z0 | zt, cond), normalised.
        log_null: log p(z0 | zt), normalised.
        scale: >= 0; 0 forgets the condition, 1 is the network's own guess.

    Returns:
        Normalised log-probabilities, not below ``LOG_FLOOR``.

    Example:
        >>> cond, null = jnp.array([[[0.8, 0.2]]]), jnp.array([[[0.5, 0.5]]])
        >>> print(jnp.exp(guide(jnp.log(cond), jnp.log(null), 2.0)).round(2))
        [[[0.94 0.06]]]
    """
    mixed = log_null + scale * (log_cond - log_null)
    return jnp.clip(jax.nn.log_softmax(mixed, axis=-1), LOG_FLOOR, 0.0)


def guide_denoiser(denoise_fn: DenoiseFn, null_cond: Any, scale: float) -> DenoiseFn:
    """Guide a network, which then works on the condition and on its absence in one pass.

    Args:
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, trained with the condition left out
            now and then.
        null_cond: What stands for no condition: a pytree of arrays like ``cond``.
        scale: As for `guide`; 1 returns ``denoise_fn`` itself, at half the cost.

    Returns:
        A function of the same form.

    Raises:
        ValueError: If ``scale`` is negative.

    Example:
        >>> doubtful = lambda zt, t, cond: jax.nn.log_softmax(cond[:, None])
        >>> null = jnp.zeros((1, 2))
        >>> guided = guide_denoiser(doubtful, null, 3.0)
        >>> log_p = guided(jnp.array([[2]]), jnp.array([4]), jnp.array([[1.0, 0.0]]))
        >>> print((log_p[..., 0] - log_p[..., 1]).round(3))
        [[3.]]
    """
    if scale < 0:
        raise ValueError(f"guidance must be at least 0, got {scale}")
    if scale == 1.0:
        return denoise_fn

    def guided(zt: Tokens, t: Timesteps, cond: Any) -> LogProbs:
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), cond, null_cond)
        log_p = denoise_fn(jnp.concatenate([zt, zt]), jnp.concatenate([t, t]), both)
        log_p = log_p.astype(jnp.promote_types(log_p.dtype, jnp.float32))
        log_cond, log_null = jnp.split(log_p, 2)
        return guide(log_cond, log_null, scale)

    return guided
