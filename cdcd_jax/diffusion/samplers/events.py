"""Rules that call the network once for each event, at the step at which it takes place."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cdcd_jax.checks import check_count
from cdcd_jax.diffusion.samplers.draws import draw_clean
from cdcd_jax.diffusion.samplers.orders import check_at_least, check_masks, highest
from cdcd_jax.diffusion.samplers.rule import (
    Predict,
    Rule,
    State,
    check_nearly_absorbing,
    is_free,
    replaces_tokens,
)
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.transitions import NEARLY_ABSORBING
from cdcd_jax.typing import Leaf, LogProbs, PRNGKey, Timesteps, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FirstHitting(Rule):
    """One token for each call of the network, at the time at which it is unmasked.

    "Masked Diffusion Models are Secretly Time-Agnostic Masked Models" (Zheng et al. 2024): with
    noise that only absorbs, each position is unmasked at a masked share gamma_bar that is uniform
    in 0..gamma_bar_T, independently of the others. The positions are drawn in the order of these,
    each from the network at its own step. This is the limit of ancestral sampling for ever more
    steps, in as many calls as there are masks.

    With num_steps below the length, each call reveals several positions, independently.

    Attributes:
        ignore_uniform: Take a schedule that hardly replaces tokens, as the published one does with
            1e-6, for one that only absorbs.
    """

    own_steps: ClassVar[bool] = True
    ignore_uniform: bool = dataclasses.field(default=False, metadata={"static": True})

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple[Rule, np.ndarray]:
        """Count the calls of the network: for each position, or as many as are given."""
        check_masks(schedule)
        if replaces_tokens(schedule) and not self.ignore_uniform:
            raise ValueError(
                'sampler "first_hitting" needs noise that only absorbs, as absorbing_schedule '
                "makes it, and this schedule replaces tokens; ignore_uniform = True takes a share "
                f"below {NEARLY_ABSORBING:g} for none"
            )
        check_nearly_absorbing('sampler "first_hitting"', schedule)
        if not isinstance(times, str) or times != "uniform":
            raise ValueError(
                'times: the sampler "first_hitting" draws its steps at random; leave times out'
            )
        count = length if num_steps is None else num_steps
        if count is None:
            raise ValueError(
                'sampler "first_hitting" has a step for each position: give num_steps or length'
            )
        check_count("num_steps", count)
        visited = np.arange(count, -1, -1, dtype=np.int32)
        return _FirstHittingInCalls(self.ignore_uniform, count), visited

    def start(self, key: PRNGKey, schedule: Schedule, zt: Tokens) -> Float[Array, "batch length"]:
        """Draw the masked share at which each position is unmasked."""
        return jax.random.uniform(key, zt.shape) * jnp.asarray(schedule.gamma_bar)[-1]

    def step(
        self,
        key: PRNGKey,
        schedule: Schedule,
        predict: Predict,
        state: State,
        s: Timesteps,
        t: Timesteps,
    ) -> State:
        """Reveal the next position, or n / t of n where there are but t calls left."""
        zt = state.zt
        share = jnp.where(zt == schedule.mask_id, state.memory, -1.0)
        share, positions = jax.lax.top_k(share, self.most_in_call(zt.shape[1]))
        count = jnp.sum(zt == schedule.mask_id, axis=-1)
        revealed = jnp.arange(positions.shape[1])[None] < -(-count // t)[:, None]
        at = find_step(schedule, jnp.maximum(share[:, 0], 0.0))
        drawn = draw_clean(key, schedule, predict(zt, at, positions).filtered)
        before = jnp.take_along_axis(zt, positions, axis=1)
        rows = jnp.arange(len(zt))[:, None]
        return state._replace(zt=zt.at[rows, positions].set(jnp.where(revealed, drawn, before)))

    def most_in_call(self, length: int) -> int:
        """Return the most positions that a call reveals: all, where nothing is known of them."""
        return length

    def keeps_visible(self, schedule: Schedule) -> bool:
        """Return that visible tokens stay."""
        return True


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _FirstHittingInCalls(FirstHitting):
    """The rule once the number of calls is known."""

    calls: int = dataclasses.field(default=1, metadata={"static": True})

    def most_in_call(self, length: int) -> int:
        """Return the share of a call, which never grows on the way."""
        return -(-length // self.calls)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Entropy(Rule):
    """As many positions in a call as are nearly certain, by the entropy of their tokens.

    "Accelerated Sampling from Masked Diffusion Models via Entropy Bounded Unmasking" (Ben-Hamu et
    al. 2025): positions are revealed from the lowest entropy on while the sum of their entropies
    less the largest, which bounds how dependent they are, stays within a budget: always one at
    least. The network is given the step at which the schedule has as many masks. What is left at
    the last step is revealed together. Visible tokens stay.

    Attributes:
        budget: Nats, >= 0; 0 reveals one position in a call, in as many calls as num_steps allows.
    """

    own_steps: ClassVar[bool] = True
    budget: Leaf = 0.1

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple[Rule, np.ndarray]:
        """Check the budget, and that no visible token would have to change."""
        check_masks(schedule)
        check_nearly_absorbing('sampler "entropy"', schedule)
        check_at_least("budget", self.budget, 0.0)
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
        """Reveal the positions of lowest entropy within the budget."""
        masked = state.zt == schedule.mask_id
        at_start = jnp.sum(is_free(state, schedule), axis=-1)
        share = jnp.sum(masked, axis=-1) / jnp.maximum(at_start, 1)
        prediction = predict(state.zt, find_step(schedule, share))
        entropy = jnp.where(masked, find_entropy(prediction.network), jnp.inf)
        ordered = jnp.sort(entropy, axis=-1)
        # The sum of the first n less the largest of them is that of the first n - 1.
        fits = jnp.cumsum(jnp.where(jnp.isinf(ordered), 0.0, ordered), axis=-1) <= self.budget
        count = 1 + jnp.sum(fits & ~jnp.isinf(ordered), axis=-1)
        count = jnp.where(s == 0, masked.shape[-1], count)
        revealed = highest(-entropy, masked, count)
        log_p0 = prediction.filtered
        return state._replace(zt=jnp.where(revealed, draw_clean(key, schedule, log_p0), state.zt))

    def keeps_visible(self, schedule: Schedule) -> bool:
        """Return that visible tokens stay."""
        return True


def find_step(schedule: Schedule, share: Float[Array, " batch"]) -> Timesteps:
    """Return the last step, 1..T, at which no larger share is masked.

    Not the one after it, which may be T: there a network has met nothing but masks.
    """
    gamma_bar = jnp.asarray(schedule.gamma_bar)
    found = jnp.searchsorted(gamma_bar, share.astype(gamma_bar.dtype), side="right") - 1
    return jnp.clip(found, 1, schedule.num_steps).astype(jnp.int32)


def find_entropy(log_p: LogProbs) -> Float[Array, "batch length"]:
    """Return the entropy of the token at each position, nats."""
    p = jnp.exp(log_p)
    return -jnp.sum(jnp.where(p > 0.0, p * log_p, 0.0), axis=-1)
