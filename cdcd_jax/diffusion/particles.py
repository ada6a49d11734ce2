"""Sample under any reward: sequential Monte Carlo over the reverse process.

N particles of each example run through the reverse steps together. Their weights follow what the
reward makes of the current prediction of z0, and particles of small weight are replaced by copies
of those of large weight. In the limit of many particles the result is exact, whatever the reward
(Wu et al. 2023, "Practical and Asymptotically Exact Conditional Sampling in Diffusion Models";
Singhal et al. 2025, "A General Framework for Inference-time Scaling and Steering of Diffusion
Models").
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cdcd_jax.checks import (
    check_count,
    check_function,
    check_key,
    check_pair,
    check_scalar,
    require,
)
from cdcd_jax.diffusion.denoiser import check_outputs, log_probs
from cdcd_jax.diffusion.guidance import check_rewards
from cdcd_jax.diffusion.samplers.sample import Parts, Static, build_sampler, prepare_parts
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.typing import DenoiseFn, Number, PRNGKey, Tokens

OPTIONS = ("num_steps", "times", "temperature", "truncation", "top_k")
"""Options of ancestral sampling, which the particles go through."""

LOOK_AHEAD = 4.0
"""By how much a prediction may be worse than an example's best before the end, at most."""

LARGEST = 1e30
"""Of a reward; an impossible sample has the negative of it."""


class Particles(NamedTuple):
    """Weighted samples of each example.

    Attributes:
        tokens: [batch particles length], values 0..K-1.
        log_weights: [batch particles], normalised over the particles.
    """

    tokens: Int[Array, "batch particles length"]
    log_weights: Float[Array, "batch particles"]

    def choose(self, key: PRNGKey) -> Tokens:
        """Draw one particle of each example by its weight, [batch length]."""
        index = jax.random.categorical(key, self.log_weights)
        return jnp.take_along_axis(self.tokens, index[:, None, None], axis=1)[:, 0]


def sample_particles(
    key: PRNGKey,
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    cond: Any,
    log_likelihood: Callable[[Tokens], Array],
    *,
    shape: tuple[int, int],
    num_particles: int,
    scale: Number = 1.0,
    min_ess: Number = 0.5,
    **options: Any,
) -> Particles:
    """Sample from p(z0 | cond) p(y | z0)^scale, normalised.

    At the step t a particle is weighted by exp(r_t - r_t'), where r_t is scale times the reward of
    a prediction of z0 that is drawn from the network's, and r_t' that of the step before; the last
    is that of the sample itself. The product telescopes to the reward of the sample, so that the
    intermediate ones only decide how well the particles are spent. They are taken from the best of
    an example's particles and cut at -4: what a prediction rules out may yet come true, and would
    be lost for any number of particles.

    Args:
        key: Random key.
        schedule: The noise schedule.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        cond: A tree of arrays with a row for each example, or None.
        log_likelihood: ``[rows length] -> [rows]``, log p(y | z0) of tokens; it need not be
            differentiable.
        shape: Batch and length of the tokens to make.
        num_particles: N >= 1 for each example; 1 ignores the reward.
        scale: Weight of the reward, any number; it may be traced.
        min_ess: Particles are resampled where their effective sample size falls below this share of
            N, 0..1.
        **options: Of ``make_sampler``: ``num_steps``, ``times``, ``temperature``, ``truncation``,
            ``top_k``.

    Returns:
        The particles; ``choose`` draws one of each example.

    Raises:
        ValueError: A value is out of its range; ``log_likelihood`` does not return a number for
            each row.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=4, vocab_size=2)
        >>> flat = lambda zt, t, cond: jnp.zeros((*zt.shape, 2))
        >>> odd = lambda z0: jnp.where(z0.sum(axis=-1) % 2 == 1, 0.0, -1e9)  # an odd number of ones
        >>> key, choice = jax.random.split(jax.random.key(0))
        >>> found = sample_particles(
        ...     key, schedule, flat, None, odd, shape=(3, 4), num_particles=16
        ... )
        >>> (found.choose(choice).sum(axis=-1) % 2).tolist()
        [1, 1, 1]
    """
    check_key(key)
    check_schedule(schedule)
    check_pair("shape", shape, "(batch, length)")
    check_count("num_particles", num_particles)
    check_function("log_likelihood", log_likelihood, "(z0)")
    check_scalar("scale", scale)
    check_scalar("min_ess", min_ess)
    require(lambda x: abs(x) < float("inf"), "scale = {value} must be finite", scale)
    require(lambda x: (x >= 0.0) & (x <= 1.0), "min_ess = {value} must be in 0..1", min_ess)
    if unknown := sorted({*options} - {*OPTIONS}):
        raise ValueError(f"{unknown[0]} is not an option here; there are {', '.join(OPTIONS)}")
    return run_particles(
        key,
        schedule,
        check_outputs(denoise_fn),
        cond,
        log_likelihood,
        prepare_parts(schedule, length=shape[1], **options),
        shape=shape,
        num_particles=num_particles,
        scale=scale,
        min_ess=min_ess,
    )


def run_particles(
    key: PRNGKey,
    schedule: Schedule,
    predict: DenoiseFn,
    cond: Any,
    log_likelihood: Callable[[Tokens], Array],
    parts: tuple[Parts, Static],
    *,
    shape: tuple[int, int],
    num_particles: int,
    scale: Number = 1.0,
    min_ess: Number = 0.5,
    total: int | None = None,
    known: Tokens | None = None,
    start: Tokens | None = None,
) -> Particles:
    """Run particles through parts of ancestral sampling that were checked.

    Args:
        key: See `sample_particles`, as for what is not listed.
        schedule: The noise schedule.
        predict: The network.
        cond: A tree of arrays with a row for each example, or None.
        log_likelihood: ``[rows length] -> [rows]``.
        parts: From ``prepare_parts``.
        shape: Batch and length.
        num_particles: N.
        scale: Weight of the reward.
        min_ess: When particles are resampled.
        total: T by which numbers change on the way, where that of the schedule is cut.
        known: Tokens [batch length] to keep, see `cdcd_jax.sample`.
        start: Tokens [batch length] to begin with, likewise.
    """
    batch, length = shape
    rows = batch * num_particles
    sampler = build_sampler(schedule, predict, parts, total=total)
    times = jnp.asarray(sampler.times)
    cond, known, start = jax.tree.map(
        lambda leaf: jnp.repeat(jnp.asarray(leaf), num_particles, axis=0), (cond, known, start)
    )

    def reward(z0: Tokens) -> Array:
        value = log_likelihood(z0)
        check_rewards(value, rows)
        value = jnp.clip(value.astype(jnp.float32), -LARGEST, LARGEST)
        return scale * value.reshape(batch, num_particles)

    def look_ahead(z0: Tokens) -> Array:
        value = reward(z0)
        return jnp.maximum(value - jnp.max(value, axis=1, keepdims=True), -LOOK_AHEAD)

    def step(carry: Any, now: Any) -> tuple[Any, None]:
        state, log_weights, before = carry
        zt = state.zt
        key, t, s = now
        keys = jax.random.split(key, 3)
        log_p0 = log_probs(predict(zt, jnp.full(rows, t), cond), zt, schedule.vocab_size)
        drawn = jax.random.categorical(keys[0], log_p0)
        predicted = look_ahead(jnp.where(zt == schedule.mask_id, drawn, zt).astype(zt.dtype))
        log_weights = log_weights + predicted - before
        index, log_weights = _resample(keys[1], log_weights, min_ess)
        flat = (index + num_particles * jnp.arange(batch)[:, None]).reshape(rows)
        state, log_p0 = jax.tree.map(lambda x: x[flat], state), log_p0[flat]
        predicted = jnp.take_along_axis(predicted, index, axis=1)
        # The step draws from the prediction that was resampled, without another call.
        resampled = build_sampler(schedule, lambda zt, t, cond: log_p0, parts, total=total)
        return (resampled.step(keys[2], state, s, t, None), log_weights, predicted), None

    init_key, steps_key = jax.random.split(key)
    zeros = jnp.zeros((batch, num_particles), jnp.float32)
    first = sampler.init(init_key, rows, length, known, start), zeros, zeros
    visits = jax.random.split(steps_key, len(times) - 1), times[:-1], times[1:]
    (end, log_weights, before), _ = jax.lax.scan(step, first, visits)
    tokens, final = end.zt, reward(end.zt)
    final = final - jnp.max(final, axis=1, keepdims=True)
    log_weights = jax.nn.log_softmax(log_weights + final - before, axis=-1)
    wrong = jnp.repeat(jnp.isnan(log_weights).any(axis=1), num_particles)
    tokens = jnp.where(wrong[:, None], schedule.mask_id, tokens)  # as where a network gives NaN
    return Particles(tokens.reshape(batch, num_particles, length), log_weights)


def _resample(
    key: PRNGKey, log_weights: Float[Array, "batch particles"], min_ess: Number
) -> tuple[Int[Array, "batch particles"], Float[Array, "batch particles"]]:
    """Resample the particles where their effective sample size is small, systematically."""
    batch, count = log_weights.shape
    weights = jax.nn.softmax(log_weights, axis=-1)
    ess = 1.0 / jnp.sum(jnp.square(weights), axis=-1, keepdims=True)
    # One offset for each example: particle j takes the quantile (u + j) / N of the weights.
    points = (jax.random.uniform(key, (batch, 1)) + jnp.arange(count)[None]) / count
    cumulative = jnp.cumsum(weights, axis=-1)
    cumulative = cumulative / cumulative[:, -1:]
    chosen = jax.vmap(lambda c, u: jnp.searchsorted(c, u, side="right"))(cumulative, points)
    low = ess < min_ess * count
    index = jnp.where(low, jnp.minimum(chosen, count - 1), jnp.arange(count)[None])
    return index, jnp.where(low, 0.0, log_weights)
