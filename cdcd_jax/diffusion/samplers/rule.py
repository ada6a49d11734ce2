"""What all samplers have in common: a prediction, a state and a rule for one reverse step."""

from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from cdcd_jax.checks import is_traced, require
from cdcd_jax.diffusion.samplers.times import Times, make_times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.transitions import NEARLY_ABSORBING
from cdcd_jax.typing import Leaf, LogProbs, PRNGKey, Timesteps, Tokens


class Prediction(NamedTuple):
    """A prediction of the clean tokens, log p(z0 | zt, cond).

    Attributes:
        network: What the network says, guided where it is: what confidence is measured by.
        filtered: The same after temperature, top-k and truncation, which is drawn from; it may
            hold -inf.
    """

    network: LogProbs
    filtered: LogProbs


@runtime_checkable
class Predict(Protocol):
    """One pass of the network.

    A rule that knows where it will draw gives these positions, and the prediction [batch n K] is of
    them alone: the network's head and the filters do not work on the others.
    """

    def __call__(
        self, zt: Tokens, t: Timesteps, positions: Int[Array, "batch n"] | None = None
    ) -> Prediction:
        """Predict from zt at the steps t, 1..T for each row."""
        ...


class State(NamedTuple):
    """What a sampler carries from step to step.

    Attributes:
        zt: Tokens [batch length], values 0..K.
        known: Tokens that are kept, of the same shape, the mask where there is none; or None.
        memory: What a rule remembers, a tree of arrays [batch ...]; None for most.
    """

    zt: Leaf
    known: Leaf = None
    memory: Any = None


class Rule:
    """A rule for one reverse step; an entry of the table ``SAMPLERS`` is a subclass.

    A subclass is a frozen dataclass that is registered as a pytree. Its fields are its options:
    numbers may be traced, those with ``metadata={"static": True}`` are known before compiling.

    Attributes:
        own_steps: Whether it gives the network steps of its own, not those that are visited; no
            corrector can follow it then, nor `cdcd_jax.sample_particles`.
    """

    own_steps: ClassVar[bool] = False

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple["Rule", np.ndarray]:
        """Check the options against a schedule and lay out the steps.

        Args:
            schedule: The noise schedule.
            num_steps: Number of steps, or None for as many as the rule can use.
            times: A time grid, see `cdcd_jax.diffusion.samplers.times.make_times`.
            length: Positions of a sequence, where that is known.

        Returns:
            The rule, complete, and the steps that it visits, the last of them 0.

        Raises:
            ValueError: The rule has no meaning for the schedule, or an option is out of range.
        """
        del length
        return self, make_times(schedule.num_steps, num_steps, times)

    def start(self, key: PRNGKey, schedule: Schedule, zt: Tokens) -> Any:
        """Return what the rule remembers before its first step."""
        del key, schedule, zt

    def step(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Go from step t to step s < t, both [batch], and return the state there."""
        raise NotImplementedError

    def keeps_visible(self, schedule: Schedule) -> bool:
        """Return whether nothing changes any more where nothing is masked."""
        return not replaces_tokens(schedule)


def is_free(state: State, schedule: Schedule) -> Bool[Array, "batch length"]:
    """Return where tokens may change: everywhere but at those that are known."""
    if state.known is None:
        return jnp.ones(state.zt.shape, bool)
    return state.known == schedule.mask_id


def replaces_tokens(schedule: Schedule) -> bool:
    """Return whether noise may replace a token; of a schedule that is traced, that it may."""
    return is_traced(schedule.beta_bar) or bool(np.any(np.asarray(schedule.beta_bar) > 0.0))


def check_nearly_absorbing(what: str, schedule: Schedule) -> None:
    """Raise a ValueError if a schedule replaces more tokens than can be passed over."""
    require(
        lambda keep, alpha: keep - alpha < NEARLY_ABSORBING,
        f"{what} leaves visible tokens as they are, and the schedule replaces {NEARLY_ABSORBING:g} "
        'of them or more at a step; "ancestral" without keep_visible draws them anew',
        schedule.keep_bar,
        schedule.alpha_bar,
    )
