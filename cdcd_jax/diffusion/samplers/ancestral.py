"""Ancestral sampling: the exact reverse step, and the published shortcut."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.checks import check_count
from cdcd_jax.diffusion.samplers.draws import sample_reverse
from cdcd_jax.diffusion.samplers.rule import Predict, Rule, State, check_nearly_absorbing
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.typing import PRNGKey, Timesteps


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ancestral(Rule):
    """The exact reverse step over any distance, zs ~ sum_z0 q(zs | zt, z0) p(z0 | zt, cond).

    VQ-Diffusion Eq. 11; positions are drawn independently of each other. Where the noise replaces
    tokens, visible tokens are redrawn as well: at the last step from p(z0 | zt, cond) itself, so
    that a network which is not sure of what it is shown changes it, however rare the noise is.

    Attributes:
        keep_visible: Leave visible tokens as they are, which is exact for an absorbing schedule and
            nearly so for the published one, where one token in a million is replaced. Sampling then
            ends when nothing is masked.
    """

    keep_visible: bool = dataclasses.field(default=False, metadata={"static": True})

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple["Rule", np.ndarray]:
        """Check that visible tokens may stay, and lay out the steps."""
        if not isinstance(self.keep_visible, bool):
            raise ValueError(f"keep_visible = {self.keep_visible!r} must be True or False")
        if self.keep_visible:
            check_nearly_absorbing("keep_visible", schedule)
        return super().prepare(schedule, num_steps, times, length)

    def step(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Draw every position from the posterior."""
        log_p0 = predict(state.zt, t).filtered
        zs = sample_reverse(key, schedule, log_p0, state.zt, s, t)
        if self.keep_visible:
            zs = jnp.where(state.zt == schedule.mask_id, zs, state.zt)
        return state._replace(zt=zs)

    def keeps_visible(self, schedule: Schedule) -> bool:
        """Return whether visible tokens stay, by choice or as nothing replaces them."""
        return self.keep_visible or super().keeps_visible(schedule)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fast(Rule):
    """The published fast sampling, for its results: the posterior of one step, at a shifted t.

    From step t it leaves ``skip`` steps out, but draws from the posterior of the one step
    t - skip -> t - skip - 1 as if zt were of step t - skip. `Ancestral` takes the exact posterior
    at the same cost. The published command line's ``fastN`` is a skip of N - 1.

    Attributes:
        skip: Steps left out between two; None for as few as num_steps allows.
    """

    skip: int | None = dataclasses.field(default=None, metadata={"static": True})

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple["Rule", np.ndarray]:
        """Lay out T, T - 1 - skip, ..., 1 and 0."""
        total = schedule.num_steps
        limit = total if num_steps is None else num_steps
        check_count("num_steps", limit)
        if not isinstance(times, str) or times != "uniform":
            raise ValueError('times: the sampler "fast" has steps of its own; leave times out')
        if self.skip is not None:
            check_count("skip", self.skip, least=0)
        for skip in range(total) if self.skip is None else [self.skip]:
            visited = [*range(total, 1, -1 - skip), 1, 0]
            if len(visited) - 1 <= limit <= total:
                return dataclasses.replace(self, skip=skip), np.array(visited, np.int32)
        least = min(2, total) if self.skip is None else len([*range(total, 1, -1 - self.skip)]) + 1
        raise ValueError(
            f"num_steps = {limit} must be in {least}..{total} for the sampler "
            f"{'fast' if self.skip is None else self}"
        )

    def step(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Draw from the one-step posterior at t - skip, or at t where that would be below 1."""
        assert self.skip is not None, "prepare says how many"
        log_p0 = predict(state.zt, t).filtered
        shifted = jnp.where(t - 1 > self.skip, t - self.skip, t)
        zs = sample_reverse(key, schedule, log_p0, state.zt, shifted - 1, shifted)
        return state._replace(zt=zs)
