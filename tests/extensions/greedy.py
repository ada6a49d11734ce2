"""A sampler that keeps the most likely token wherever the reverse process unmasks one."""

import dataclasses

import jax
import jax.numpy as jnp

from cdcd_jax import register, samplers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Greedy(samplers.Rule):
    """The ancestral step of the one token that is most likely at each position.

    Attributes:
        margin: Tokens within so many nats of it count as most likely, too.
    """

    margin: float = 0.0

    def step(self, key, schedule, predict, state, s, t):
        """Draw every position from the posterior of the most likely token."""
        log_p0 = predict(state.zt, t).network
        likely = log_p0 >= log_p0.max(-1, keepdims=True) - self.margin
        log_p0 = jax.nn.log_softmax(jnp.where(likely, 0.0, -jnp.inf))
        zs = samplers.sample_reverse(key, schedule, log_p0, state.zt, s, t)
        return state._replace(zt=zs)


register("sampler", "greedy", Greedy)
