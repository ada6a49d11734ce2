"""Remasking: tokens that were revealed too early become masks again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cdcd_jax.checks import check_scalar, require
from cdcd_jax.diffusion.samplers.draws import draw_visible
from cdcd_jax.diffusion.samplers.orders import check_masks, log_prob_of
from cdcd_jax.diffusion.samplers.rule import Predict, Rule, State, is_free
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.typing import Leaf, PRNGKey, Timesteps, Tokens

STRATEGIES = ("cap", "rescale", "confidence")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Remask(Rule):
    """Ancestral sampling that masks visible tokens again ("ReMDM", Wang et al. 2025, Sec. 3-4).

    A visible token becomes a mask with sigma, and a mask stays one with
    (gamma_bar_s - (1 - gamma_bar_t) sigma) / gamma_bar_t: so many are masked as without, whatever
    sigma is up to its bound gamma_bar_s / (1 - gamma_bar_t). A token that is visible at s is drawn
    from the exact posterior, so that this holds for noise that replaces tokens, too.

    Attributes:
        strategy: ``"cap"``, sigma = min(remasking, bound); ``"rescale"``, sigma = remasking bound;
            ``"confidence"``, the same on average, shared out by exp(-p), where p is how likely a
            token was when it was drawn.
        remasking: A probability for ``"cap"``, a share of the bound otherwise, 0..1; 0 is ancestral
            sampling.
    """

    strategy: str = dataclasses.field(default="rescale", metadata={"static": True})
    remasking: Leaf = 0.1

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple[Rule, np.ndarray]:
        """Check the options."""
        check_masks(schedule)
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, got {self.strategy!r}")
        check_scalar("remasking", self.remasking)
        require(
            lambda x: (x >= 0.0) & (x <= 1.0), "remasking must be in 0..1, got {value}",
            self.remasking,
        )  # fmt: skip
        return super().prepare(schedule, num_steps, times, length)

    def start(
        self, key: PRNGKey, schedule: Schedule, zt: Tokens
    ) -> Float[Array, "batch length"] | None:
        """Remember how likely tokens were when they were drawn, where that decides."""
        return jnp.zeros(zt.shape, jnp.float32) if self.strategy == "confidence" else None

    def step(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Mask some visible tokens again, and reveal as many more."""
        draw_key, mask_key = jax.random.split(key)
        prediction = predict(state.zt, t)
        zs = draw_visible(draw_key, schedule, prediction.filtered, state.zt, s, t)
        masked = state.zt == schedule.mask_id
        visible = ~masked & is_free(state, schedule)
        gamma_bar, keep_bar = jnp.asarray(schedule.gamma_bar), jnp.asarray(schedule.keep_bar)
        ratio = gamma_bar[s] / jnp.where(keep_bar[t] > 0.0, keep_bar[t], 1.0)
        bound = jnp.where(keep_bar[t] > 0.0, jnp.minimum(ratio, 1.0), 0.0)
        if self.strategy == "cap":
            sigma = jnp.minimum(self.remasking, bound)
        else:
            sigma = self.remasking * bound
        stay = (gamma_bar[s] - keep_bar[t] * sigma) / jnp.maximum(gamma_bar[t], 1e-12)
        remask = jnp.broadcast_to(sigma[:, None], zs.shape)
        if self.strategy == "confidence":
            share = jnp.where(visible, jnp.exp(-jnp.exp(state.memory)), 0.0)
            mean = jnp.sum(share, -1, keepdims=True) / jnp.maximum(
                jnp.sum(visible, -1, keepdims=True), 1
            )
            remask = jnp.minimum(remask * share / jnp.maximum(mean, 1e-12), 1.0)
        chance = jnp.where(masked, stay[:, None], jnp.where(visible, remask, 0.0))
        zs = jnp.where(jax.random.uniform(mask_key, zs.shape) < chance, schedule.mask_id, zs)
        memory = state.memory
        if memory is not None:
            drawn = masked | (zs != state.zt)
            memory = jnp.where(drawn, log_prob_of(prediction.network, zs), memory)
        return state._replace(zt=zs, memory=memory)

    def keeps_visible(self, schedule: Schedule) -> bool:
        """Return that visible tokens may be masked at any step."""
        return False
