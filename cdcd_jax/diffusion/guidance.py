"""Guidance: predictions of z0 that follow a condition, or a reward, more than the network's own.

Each is a function from a ``denoise_fn`` to another one, so that they combine with each other and
with every sampler.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_array, check_count, check_function, check_scalar, require
from cdcd_jax.diffusion.denoiser import check_outputs, log_probs
from cdcd_jax.diffusion.ramps import Interval, Ramp, Varying, check_varying, is_constant, values_of
from cdcd_jax.diffusion.transitions import LOG_FLOOR
from cdcd_jax.typing import DenoiseFn, LogProbs, Number, Timesteps, Tokens, wide_dtype

LARGEST_SCALE = 1e36
"""Largest scale of guidance: times their difference, at most 70, it is a float32."""


def guide(
    log_cond: LogProbs, log_null: LogProbs, scale: Number | Float[Array, "batch 1 1"]
) -> LogProbs:
    """Move a prediction away from what the network would say without the condition.

    log p = log_null + scale (log_cond - log_null), normalised (Ho and Salimans 2021; Improved
    VQ-Diffusion Eq. 8, where s = scale - 1). Tokens that the condition makes likelier gain by
    the power of scale.

    Args:
        log_cond: log p(z0 | zt, cond), or logits.
        log_null: log p(z0 | zt), or logits.
        scale: >= 0; 0 forgets the condition, 1 is the network's own prediction. It may be traced.

    Returns:
        Normalised log-probabilities, not below ``LOG_FLOOR``.

    Raises:
        ValueError: The two have not the same shape, hold no real numbers or, where that is known,
            NaN, +inf or -inf for all tokens; or ``scale`` is negative, NaN, infinite or no number.

    Example:
        >>> cond, null = jnp.array([[[0.8, 0.2]]]), jnp.array([[[0.5, 0.5]]])
        >>> print(jnp.exp(guide(jnp.log(cond), jnp.log(null), 2.0)).round(2))
        [[[0.94 0.06]]]
    """
    if not jnp.ndim(scale):
        check_scale(scale)
    for name, log_p in (("log_cond", log_cond), ("log_null", log_null)):
        check_array(name, log_p, "batch length K")
        real = any(jnp.issubdtype(log_p.dtype, kind) for kind in (jnp.floating, jnp.integer))
        if not real or not log_p.ndim:
            raise ValueError(
                f"{name} must be log-probabilities or logits [batch length K], got {log_p.dtype} "
                f"{log_p.shape}"
            )
    if log_cond.shape != log_null.shape:
        raise ValueError(f"log_null has shape {log_null.shape} where log_cond has {log_cond.shape}")
    # Floored, because -inf - (-inf) is NaN.
    log_cond, log_null = (
        jnp.maximum(_normalise(name, log_p), LOG_FLOOR)
        for name, log_p in (("log_cond", log_cond), ("log_null", log_null))
    )
    mixed = log_null + scale * (log_cond - log_null)
    return jnp.clip(jax.nn.log_softmax(mixed, axis=-1), LOG_FLOOR, 0.0)


def _normalise(name: str, log_p: LogProbs) -> LogProbs:
    log_p = jax.nn.log_softmax(log_p.astype(wide_dtype(log_p.dtype)), axis=-1)
    require(
        lambda log_p: log_p == log_p,
        f"{name} holds no probabilities at {{place}}: there is NaN, +inf, or -inf for all tokens",
        log_p,
    )
    return log_p


def guide_denoiser(
    denoise_fn: DenoiseFn, null_cond: Any, scale: Varying, *, num_steps: int | None = None
) -> DenoiseFn:
    """Guide a network, which then works on the condition and on its absence in one pass.

    Args:
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits, trained with condition
            dropout.
        null_cond: What the network was trained with in place of a condition, or a condition to move
            away from (a negative prompt): a pytree of arrays like ``cond``, of the same batch or of
            a batch of 1, for all rows.
        scale: As for `guide`, or an `Interval` or `Ramp` over t/T. 1 returns ``denoise_fn`` itself,
            at half the cost; so are the steps at which an `Interval` is 1.
        num_steps: T of the schedule; a scale that changes with t needs it.

    Returns:
        A function of the same form.

    Raises:
        ValueError: If ``scale`` is negative, NaN or infinite, or there is no null condition; on
            calling, if it is not like the condition.

    Example:
        >>> doubtful = lambda zt, t, cond: jax.nn.log_softmax(cond[:, None])
        >>> null = jnp.zeros((1, 2))
        >>> guided = guide_denoiser(doubtful, null, 3.0)
        >>> log_p = guided(jnp.array([[2]]), jnp.array([4]), jnp.array([[1.0, 0.0]]))
        >>> print((log_p[..., 0] - log_p[..., 1]).round(3))
        [[3.]]
    """
    check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
    check_scale(scale)
    if is_constant(scale, 1.0):
        return denoise_fn
    if not jax.tree.leaves(null_cond):
        raise ValueError(
            f"guidance needs null_cond, what the network was trained with in place of a condition, "
            f"got {null_cond}; a scale of 1 needs none"
        )
    if isinstance(scale, Ramp | Interval):
        check_count("num_steps", num_steps)

    def guided(zt: Tokens, t: Timesteps, cond: Any) -> LogProbs:
        both = _join(cond, null_cond, zt.shape[0])
        log_p = denoise_fn(_pair(zt, zt), _pair(t, t), both)
        check_array("the output of denoise_fn", log_p, "batch length K")
        if log_p.shape[:-1] != (2 * zt.shape[0], zt.shape[1]):
            raise ValueError(
                f"denoise_fn was called with {2 * zt.shape[0]} rows, with and without the "
                f"condition, and returned shape {log_p.shape} instead of "
                f"({2 * zt.shape[0]}, {zt.shape[1]}, K)"
            )
        pairs = log_p.reshape(-1, 2, *log_p.shape[1:])
        return guide(pairs[:, 0], pairs[:, 1], now(t))

    def now(t: Timesteps) -> Any:
        if isinstance(scale, Ramp | Interval) and num_steps is not None:
            return scale.at(t / num_steps)[:, None, None]
        return scale

    def guided_where_needed(zt: Tokens, t: Timesteps, cond: Any) -> LogProbs:
        def alone() -> LogProbs:
            log_p = _normalise("the output of denoise_fn", denoise_fn(zt, t, cond))
            return jnp.clip(log_p, LOG_FLOOR, 0.0)

        return jax.lax.cond(jnp.all(now(t) == 1.0), alone, lambda: guided(zt, t, cond))

    return guided_where_needed if isinstance(scale, Interval) else guided


def guide_by_reward(
    denoise_fn: DenoiseFn, log_likelihood: Callable[[Array], Array], scale: Number = 1.0
) -> DenoiseFn:
    """Tilt a network's prediction towards what a differentiable function prefers.

    log p(z0 | zt, cond, y) = log p(z0 | zt, cond) + scale d log p(y | x) / dx, normalised, at
    x = p(z0 | zt, cond): the first-order expansion of log p(y | z0) that lets positions be drawn on
    their own (Nisonoff et al. 2024, "Unlocking Guidance for Discrete State-Space Diffusion and Flow
    Models", Eq. 7, on z0). It is exact where log p(y | z0) is a sum over positions that are
    independent given zt. Where they are not, or where it cannot be differentiated,
    `cdcd_jax.diffusion.particles.sample_particles` is exact in the limit of many particles.

    Args:
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        log_likelihood: ``[batch length K] -> [batch]``, log p(y | z0) of one-hot tokens, continued
            to probabilities.
        scale: Weight of the reward, any number; it may be traced.

    Returns:
        A function of the same form as ``denoise_fn``.

    Raises:
        ValueError: If one is not a function, or ``scale`` no number; on calling, if the reward is
            not [batch].

    Example:
        >>> flat = lambda zt, t, cond: jnp.zeros((*zt.shape, 2))
        >>> prefers_ones = lambda x: x[..., 1].sum(-1) * jnp.log(3.0)
        >>> log_p = guide_by_reward(flat, prefers_ones)(jnp.array([[2]]), jnp.array([4]), None)
        >>> print(jnp.exp(log_p).round(2))
        [[[0.25 0.75]]]
    """
    check_function("log_likelihood", log_likelihood, "(x)")
    check_scalar("scale", scale)
    predict = check_outputs(denoise_fn)

    def total(x: Float[Array, "batch length K"]) -> Array:
        reward = log_likelihood(x)
        check_rewards(reward, x.shape[0])
        return jnp.sum(reward)

    def guided(zt: Tokens, t: Timesteps, cond: Any) -> LogProbs:
        out = predict(zt, t, cond)
        log_p = log_probs(out, zt, out.shape[-1])
        slope = jax.grad(total)(jnp.exp(log_p))
        require(lambda x: x == x, "the gradient of log_likelihood is NaN at {place}", slope)
        return jax.nn.log_softmax(log_p + scale * slope, axis=-1)

    return guided


def check_rewards(reward: Any, rows: int) -> None:
    """Raise a ValueError unless a reward is a number for each row."""
    if jnp.shape(reward) != (rows,):
        raise ValueError(
            f"a reward, log p(y | z0), must be one number for each of {rows} rows, got shape "
            f"{jnp.shape(reward)}"
        )


def check_scale(scale: Varying) -> None:
    """Raise a ValueError unless a scale of guidance is from 0 to `LARGEST_SCALE` at all steps."""
    check_varying("guidance", scale)
    for value in values_of(scale):
        require(
            lambda value: (value >= 0.0) & (value <= LARGEST_SCALE),
            f"guidance must be at least 0 and finite, got {{value}}; {LARGEST_SCALE:g} is the most",
            value,
        )


def _join(cond: Any, null_cond: Any, batch: int) -> Any:
    """Put the null condition, repeated if it has a batch of 1, beside the condition."""

    def join(cond: Any, null: Any) -> Array:
        cond, null = jnp.asarray(cond), jnp.asarray(null)
        fits = cond.ndim > 0 and null.shape in (cond.shape, (1, *cond.shape[1:]))
        if not fits:
            raise ValueError(
                f"null_cond has shape {null.shape} where cond has {cond.shape}: it must be the "
                "same, or have a batch of 1"
            )
        if cond.shape[0] != batch:
            raise ValueError(f"cond has {cond.shape[0]} rows where the tokens have {batch}")
        return _pair(cond, jnp.broadcast_to(null, cond.shape))

    of_cond, of_null = (jax.tree.structure(tree) for tree in (cond, null_cond))
    if of_cond != of_null:
        raise ValueError(
            f"null_cond must be a tree like cond, got {of_null}, and {of_cond} as cond"
        )
    return jax.tree.map(join, cond, null_cond)


def _pair(first: Array, second: Array) -> Array:
    """Put each row of the second behind that of the first: devices that share rows keep theirs."""
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])
