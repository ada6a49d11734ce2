"""Training steps t: importance sampling with explicit state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cdcd_jax.checks import check_type, is_traced, require
from cdcd_jax.diffusion.schedule import check_total_steps
from cdcd_jax.typing import Leaf, PRNGKey, Timesteps, show_number

DECAY = 0.9
MIN_COUNT = 10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class TimestepStats:
    """Running statistics of the bound's terms; entry t-1 of [T] belongs to step t.

    Attributes:
        second_moment: Running mean of vb_t squared, nats squared.
        count: How often each step was trained on.
    """

    second_moment: Leaf
    count: Leaf

    def __repr__(self) -> str:
        examples = show_number(None if is_traced(self.count) else np.sum(self.count))
        return f"TimestepStats(num_steps={np.size(self.count)}, examples={examples})"


def init_timestep_stats(num_steps: int) -> TimestepStats:
    """Return empty statistics.

    Args:
        num_steps: T, as many as the schedule has.

    Returns:
        The statistics.

    Raises:
        ValueError: ``num_steps`` is not a whole number from 1 on, or more than a schedule can have.
    """
    check_total_steps(num_steps)
    return TimestepStats(second_moment=jnp.zeros(num_steps), count=jnp.zeros(num_steps))


def check_stats(stats: TimestepStats, num_steps: int) -> None:
    """Raise a ValueError unless statistics are those of T steps, finite and not negative."""
    check_type("stats", stats, TimestepStats, "init_timestep_stats(schedule.num_steps)")
    for name in ("second_moment", "count"):
        table = getattr(stats, name)
        if jnp.shape(table) != (num_steps,):
            raise ValueError(
                f"stats are of {jnp.shape(table)[0] if jnp.ndim(table) else 'no'} steps, and the "
                f"schedule has {num_steps}: use init_timestep_stats(schedule.num_steps)"
            )
        require(
            lambda x: (x >= 0.0) & (x < float("inf")),
            f"stats.{name}{{place}} = {{value}} must be finite and at least 0",
            table,
        )


def timestep_probs(stats: TimestepStats) -> Float[Array, " steps"]:
    """Return the probability of training at each step 1..T.

    p_t ~ sqrt(E[vb_t^2] + 1e-10) + 1e-4 with p_1 copied from p_2 (VQ-Diffusion Sec. 4.1; Improved
    DDPM Eq. 18), uniform until every step was drawn more than 10 times.
    """
    num_steps = stats.count.shape[0]
    # p_t ~ sqrt(E[vb_t^2]) minimises the variance of vb_t / p_t (Improved DDPM Eq. 18); the two
    # small constants are the published code's.
    weight = jnp.sqrt(stats.second_moment + 1e-10) + 1e-4
    # p_1 is copied from p_2, as published: at t = 1 the term is the decoder's likelihood, not a KL.
    weight = weight.at[0].set(weight[min(1, num_steps - 1)])
    ready = jnp.all(stats.count > MIN_COUNT)
    return jnp.where(ready, weight / jnp.sum(weight), 1.0 / num_steps)


def sample_timesteps(
    key: PRNGKey, stats: TimestepStats, batch: int, *, stratified: bool = False
) -> tuple[Timesteps, Float[Array, " batch"]]:
    """Draw a step for every example.

    Args:
        key: Random key.
        stats: Running statistics.
        batch: Number of examples.
        stratified: Draw u ~ U(0, 1) once and give example i the quantile (u + i/batch) mod 1, in a
            random order (Variational Diffusion Models, App. I.1). Every example still has the
            probabilities p_t by itself, and the batch covers them evenly, which lowers the variance
            of its mean.

    Returns:
        t in 1..T and its probability p_t: dividing a term by p_t makes it an unbiased estimate of
        the sum over all steps.
    """
    probs = timestep_probs(stats)
    if not stratified:
        index = jax.random.categorical(key, jnp.log(probs), shape=(batch,))
        return index + 1, probs[index]
    # Systematic sampling: batch equidistant quantiles with one common random offset.
    offset_key, order_key = jax.random.split(key)
    u = (jax.random.uniform(offset_key) + jnp.arange(batch) / batch) % 1.0
    cumulative = jnp.cumsum(probs)
    # Scaled to its own end: the sum may fall short of 1 by a rounding, and no u may exceed it.
    index = jnp.searchsorted(cumulative, u * cumulative[-1], side="right")
    index = jnp.minimum(jax.random.permutation(order_key, index), probs.shape[0] - 1)
    return index + 1, probs[index]


def update_timestep_stats(
    stats: TimestepStats, t: Timesteps, vb: Float[Array, " batch"]
) -> TimestepStats:
    """Return the statistics after a batch: second moments of the steps in it decay by 0.9.

    Args:
        stats: Statistics so far.
        t: Steps of the batch, 1..T.
        vb: The bound's term of each example, nats summed over positions.

    Note:
        Examples of a batch that share a step enter with their mean square. The reference keeps
        whichever of them its scatter happens to write last.
    """
    vb = jax.lax.stop_gradient(vb)
    drawn = jnp.zeros_like(stats.count).at[t - 1].add(1.0)
    # Mean of vb^2 over the examples at each step, then m <- 0.9 m + 0.1 mean.
    total = jnp.zeros_like(stats.count).at[t - 1].add(jnp.square(vb))
    moment = DECAY * stats.second_moment + (1.0 - DECAY) * total / jnp.maximum(drawn, 1.0)
    return TimestepStats(
        second_moment=jnp.where(drawn > 0.0, moment, stats.second_moment),
        count=stats.count + drawn,
    )
