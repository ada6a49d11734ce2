"""Correctors: steps at one noise level that repair what was drawn before, after each reverse step.

Each pass of a corrector calls the network once more. With the true p(z0 | zt, cond) those that are
called exact leave the distribution of zs as it is, and so turn what independent draws of several
positions have spoilt back towards it.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from cdcd_jax.checks import check_count
from cdcd_jax.diffusion.samplers.draws import draw_clean, draw_visible, sample_reverse
from cdcd_jax.diffusion.samplers.orders import highest, log_prob_of
from cdcd_jax.diffusion.samplers.rule import Predict, State, is_free, replaces_tokens
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.transitions import corrupt
from cdcd_jax.typing import PRNGKey, Timesteps


class Corrector:
    """What is done to a state after each reverse step; an entry of the table ``CORRECTORS``."""

    num_passes: int = 1

    def check(self, schedule: Schedule) -> None:
        """Raise a ValueError unless the corrector has a meaning for a schedule."""
        del schedule
        check_count("num_passes", self.num_passes)

    def correct(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Change the state at step s, which was reached from t, and stay at s."""
        raise NotImplementedError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Renoise(Corrector):
    """Forward to t and back to s: zt ~ q(zt | zs), zs ~ p(zs | zt, cond) (Campbell et al. 2022).

    The predictor-corrector of "A Continuous Time Framework for Discrete Denoising Models", over a
    whole step. Exact as far as the reverse step is.

    Attributes:
        num_passes: How often it is done after each reverse step.
    """

    num_passes: int = dataclasses.field(default=1, metadata={"static": True})

    def correct(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Noise the state and denoise it again."""
        forward_key, reverse_key = jax.random.split(key)
        zt = corrupt(forward_key, schedule, state.zt, t, s)
        zt = jnp.where(is_free(state, schedule), zt, state.zt)
        log_p0 = predict(zt, t).filtered
        return state._replace(zt=sample_reverse(reverse_key, schedule, log_p0, zt, s, t))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gibbs(Corrector):
    """Visible positions are masked, predicted from the others and redrawn (Zhao et al. 2024).

    "Informed Correctors for Discrete Diffusion Models": with num_masked above num_redrawn, those
    whose tokens the network holds for the least likely, given the others, are redrawn, and the rest
    is put back. One that is masked and redrawn is a Gibbs step, and exact; several at once are
    drawn independently of each other, and a choice by confidence sharpens.

    Attributes:
        num_masked: Visible positions that are masked in a pass, at random.
        num_redrawn: How many of them are redrawn.
        num_passes: Passes after each reverse step.
    """

    num_masked: int = dataclasses.field(default=1, metadata={"static": True})
    num_redrawn: int = dataclasses.field(default=1, metadata={"static": True})
    num_passes: int = dataclasses.field(default=1, metadata={"static": True})

    def check(self, schedule: Schedule) -> None:
        """Check the numbers."""
        super().check(schedule)
        check_count("num_masked", self.num_masked)
        check_count("num_redrawn", self.num_redrawn)
        if self.num_redrawn > self.num_masked:
            raise ValueError(
                f"num_redrawn = {self.num_redrawn} must be at most num_masked = {self.num_masked}"
            )

    def correct(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Redraw positions from their conditional distribution at step s."""
        choice_key, draw_key = jax.random.split(key)
        visible = _is_visible(state, schedule)
        order = jax.random.uniform(choice_key, state.zt.shape)
        hidden = highest(order, visible, _rows(state, self.num_masked))
        zs = jnp.where(hidden, schedule.mask_id, state.zt)
        prediction = predict(zs, jnp.maximum(s, 1))
        # At a mask the draw has the noise of step s, and does not depend on where it came from.
        drawn = draw_visible(draw_key, schedule, prediction.filtered, zs, s, s + 1)
        unlikely = -log_prob_of(prediction.network, state.zt)
        redrawn = highest(unlikely, hidden, _rows(state, self.num_redrawn))
        return state._replace(zt=jnp.where(redrawn, drawn, state.zt))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SelfCorrection(Corrector):
    """Replace visible tokens where the network is surest of another (GIDD, Ruette et al. 2025).

    For schedules with a uniform share, whose networks have learned that a visible token may be
    wrong. A token is drawn for each visible position, and takes its place where the network holds
    it for likelier than what is there, at the positions that gain most. Not exact: it sharpens.

    Attributes:
        num_redrawn: At most so many tokens are replaced in a pass.
        num_passes: Passes after each reverse step.
    """

    num_redrawn: int = dataclasses.field(default=1, metadata={"static": True})
    num_passes: int = dataclasses.field(default=1, metadata={"static": True})

    def check(self, schedule: Schedule) -> None:
        """Check that tokens may be wrong."""
        super().check(schedule)
        check_count("num_redrawn", self.num_redrawn)
        if not replaces_tokens(schedule):
            raise ValueError(
                'corrector "self_correction" asks the network for errors among visible tokens, '
                'which a schedule that only absorbs does not teach it: take "gibbs" or "renoise"'
            )

    def correct(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Replace the tokens that gain most."""
        visible = _is_visible(state, schedule)
        prediction = predict(state.zt, jnp.maximum(s, 1))
        drawn = draw_clean(key, schedule, prediction.filtered)
        gain = log_prob_of(prediction.network, drawn) - log_prob_of(prediction.network, state.zt)
        redrawn = highest(gain, visible & (gain > 0.0), _rows(state, self.num_redrawn))
        return state._replace(zt=jnp.where(redrawn, drawn, state.zt))


def _is_visible(state: State, schedule: Schedule) -> Bool[Array, "batch length"]:
    return (state.zt != schedule.mask_id) & is_free(state, schedule)


def _rows(state: State, number: int) -> Int[Array, " batch"]:
    return jnp.full(len(state.zt), number)
