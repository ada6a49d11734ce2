"""Orders: which masked positions are revealed at a step, by confidence or by place.

How many stay masked follows the schedule: of n masks at step t, n gamma_bar_s / gamma_bar_t on
average at step s, rounded up or down at random, which is the mean of ancestral sampling. A token
that is revealed has the noise of step s, and visible tokens are redrawn from the exact posterior,
both as in ancestral sampling: an order only changes which positions stay masked.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cdcd_jax.checks import check_count, check_pair, check_scalar, require
from cdcd_jax.diffusion.samplers.draws import draw_clean, draw_visible, gumbel
from cdcd_jax.diffusion.samplers.rule import (
    Predict,
    Prediction,
    Rule,
    State,
    replaces_tokens,
)
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.sharding import vary_like_result
from cdcd_jax.diffusion.transitions import LOG_FLOOR
from cdcd_jax.typing import Leaf, LogProbs, PRNGKey, Timesteps, Tokens


class Order(Rule):
    """A rule that reveals the masked positions with the highest scores."""

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple[Rule, np.ndarray]:
        """Check that there are masks to be put in order."""
        check_masks(schedule)
        check_at_least("choice_temperature", getattr(self, "choice_temperature", 0.0), 0.0)
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
        """Draw every position as if it were revealed, and leave those of low scores masked."""
        draw_key, count_key, order_key = jax.random.split(key, 3)
        prediction = predict(state.zt, t)
        zs = draw_visible(draw_key, schedule, prediction.filtered, state.zt, s, t)
        masked = state.zt == schedule.mask_id
        score = self.score(order_key, schedule, prediction, zs, s)
        left = count_left(count_key, schedule, masked, s, t)
        revealed = highest(score, masked, jnp.sum(masked, axis=-1) - left)
        return state._replace(zt=jnp.where(masked & ~revealed, schedule.mask_id, zs))

    def score(
        self, key: PRNGKey, schedule: Schedule, prediction: Prediction, zs: Tokens, s: Timesteps
    ) -> Float[Array, "batch length"]:
        """Return how soon each position is revealed, of the tokens that would be there."""
        raise NotImplementedError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Confidence(Order):
    """The tokens the network is most sure of first, log p(z0 = token) + noise (MaskGIT Sec. 3.2).

    Attributes:
        choice_temperature: Scale of the Gumbel noise on the confidence; it falls to 0 with s/T.
            0 reveals strictly by confidence, which is far from the data in diversity.
    """

    choice_temperature: Leaf = 4.5

    def score(
        self, key: PRNGKey, schedule: Schedule, prediction: Prediction, zs: Tokens, s: Timesteps
    ) -> Float[Array, "batch length"]:
        """Return the log-probability of the tokens, with annealed noise."""
        score = log_prob_of(prediction.network, zs)
        return score + choice_noise(key, schedule, self.choice_temperature, score, s)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Margin(Order):
    """The largest gap between the two likeliest tokens first (Kim et al. 2025, Sec. 4).

    "Train for the Worst, Plan for the Best": two tokens that are equally likely make a position
    uncertain, however likely they are.

    Attributes:
        choice_temperature: Scale of the Gumbel noise on the logarithm of the gap; it falls to 0
            with s/T.
    """

    choice_temperature: Leaf = 0.0

    def score(
        self, key: PRNGKey, schedule: Schedule, prediction: Prediction, zs: Tokens, s: Timesteps
    ) -> Float[Array, "batch length"]:
        """Return log(p of the likeliest token - p of the next), with annealed noise."""
        log_p = prediction.network
        top = jnp.max(log_p, axis=-1)
        is_top = log_p == top[..., None]
        others = jnp.max(jnp.where(is_top, -jnp.inf, log_p), axis=-1)
        second = jnp.where(jnp.sum(is_top, axis=-1) > 1, top, others)
        gap = jnp.maximum(jnp.exp(top) - jnp.exp(second), jnp.exp(LOG_FLOOR))
        return jnp.log(gap) + choice_noise(key, schedule, self.choice_temperature, top, s)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Halton(Order):
    """Positions of an image in the order of a Halton sequence, far from each other in every step.

    "Halton Scheduler for Masked Generative Image Transformer" (Besnier et al. 2025): tokens that
    are drawn together are then nearly independent.

    Attributes:
        grid: Rows and columns of the image's tokens; of a sequence, (1, length).
    """

    grid: Any = dataclasses.field(default=None, metadata={"static": True})

    def __post_init__(self):
        if isinstance(self.grid, list):  # as JSON has it
            object.__setattr__(self, "grid", tuple(self.grid))

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple[Rule, np.ndarray]:
        """Check the grid."""
        if self.grid is None:
            raise ValueError('grid is needed by the sampler "halton": give (rows, columns)')
        check_pair("grid", self.grid, "(rows, columns)")
        if length not in (None, self.grid[0] * self.grid[1]):
            raise ValueError(
                f"grid = {tuple(self.grid)} has {self.grid[0] * self.grid[1]} positions, and a "
                f"sample {length}"
            )
        return super().prepare(schedule, num_steps, times, length)

    def score(
        self, key: PRNGKey, schedule: Schedule, prediction: Prediction, zs: Tokens, s: Timesteps
    ) -> Float[Array, "batch length"]:
        """Return minus the place in the sequence."""
        assert self.grid is not None, "prepare checks it"
        ranks = halton_ranks(int(self.grid[0]), int(self.grid[1]))
        return jnp.broadcast_to(-jnp.asarray(ranks, jnp.float32)[None], zs.shape)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Purity(Order):
    """The purity prior of Improved VQ-Diffusion (Tang et al. 2022, Sec. 3.3), as published.

    Positions are drawn without replacement by their purity, max_k p(z0 = k | zt, cond) over the
    largest of the sequence, and tokens from p^(1 + purity_weight purity), sharper where it is
    high; at the last step from p. Visible tokens stay.

    Attributes:
        purity_weight: r of the paper's Eq. 11, >= 0.
        tokens_per_call: High-quality inference: the most tokens that are revealed before the
            network is called again, at the same t; None calls it once a step.
    """

    purity_weight: Leaf = 1.0
    tokens_per_call: int | None = dataclasses.field(default=None, metadata={"static": True})

    needs: ClassVar[str] = (
        'sampler "purity" compares masked positions with visible ones, of which a network says '
        'nothing where the noise only absorbs: take "confidence", or a schedule that replaces '
        "tokens, as mask_replace_schedule makes"
    )

    def prepare(
        self, schedule: Schedule, num_steps: int | None, times: Times, length: int | None
    ) -> tuple[Rule, np.ndarray]:
        """Check that visible positions have a prediction, and the options."""
        if not replaces_tokens(schedule):
            raise ValueError(self.needs)
        check_at_least("purity_weight", self.purity_weight, 0.0)
        if self.tokens_per_call is not None:
            check_count("tokens_per_call", self.tokens_per_call)
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
        """Reveal positions by their purity, a few at a time where that is wanted."""
        count_key, key = jax.random.split(key)
        masked = state.zt == schedule.mask_id
        count = jnp.sum(masked, axis=-1) - count_left(count_key, schedule, masked, s, t)
        weight = jnp.where(s == 0, 0.0, self.purity_weight)[:, None]
        limit = self.tokens_per_call

        def reveal(carry: tuple[PRNGKey, Tokens, Array]) -> tuple[PRNGKey, Tokens, Array]:
            key, zt, count = carry
            next_key, draw_key, order_key = jax.random.split(key, 3)
            now = count if limit is None else jnp.minimum(count, limit)
            # As published, no last token is left to a call of its own.
            now = now if limit is None else jnp.where(count - now == 1, count, now)
            prediction = predict(zt, t)
            purity = find_purity(prediction.network)
            log_p0 = sharpen(prediction.filtered, purity, weight)
            clean = draw_clean(draw_key, schedule, log_p0)
            score = jnp.log(purity) + gumbel(order_key, zt.shape)
            chosen = highest(score, zt == schedule.mask_id, now)
            return next_key, jnp.where(chosen, clean, zt), count - now

        carry = key, state.zt, count
        if limit is None:
            return state._replace(zt=reveal(carry)[1])
        carry = vary_like_result(reveal, carry)
        carry = jax.lax.while_loop(lambda carry: jnp.any(carry[2] > 0), reveal, carry)
        return state._replace(zt=carry[1])

    def keeps_visible(self, schedule: Schedule) -> bool:
        """Return that visible tokens stay."""
        return True


def find_purity(log_p0: LogProbs) -> Float[Array, "batch length"]:
    """Return max_k p(z0 = k) at each position over the largest of the sequence."""
    top = jnp.exp(jnp.max(log_p0, axis=-1))
    return top / (jnp.max(top, axis=-1, keepdims=True) + 1e-10)


def sharpen(log_p0: LogProbs, purity: Float[Array, "batch length"], weight: Leaf) -> LogProbs:
    """Return log p^(1 + weight purity), normalised."""
    return jax.nn.log_softmax((1.0 + weight * purity)[..., None] * log_p0, axis=-1)


def count_left(
    key: PRNGKey, schedule: Schedule, masked: Bool[Array, "batch length"], s: Timesteps,
    t: Timesteps,
) -> Int[Array, " batch"]:  # fmt: skip
    """Draw how many masked positions stay masked: n gamma_bar_s / gamma_bar_t on average."""
    gamma_bar = jnp.asarray(schedule.gamma_bar)
    ratio = gamma_bar[s] / jnp.where(gamma_bar[t] > 0.0, gamma_bar[t], 1.0)
    mean = jnp.sum(masked, axis=-1) * ratio
    return jnp.floor(mean + jax.random.uniform(key, mean.shape)).astype(jnp.int32)


def highest(
    score: Float[Array, "batch length"], among: Bool[Array, "batch length"],
    count: Int[Array, " batch"],
) -> Bool[Array, "batch length"]:  # fmt: skip
    """Choose so many positions of each row with the highest scores, among some of them."""
    score = jnp.where(among, jnp.maximum(score, jnp.finfo(score.dtype).min), -jnp.inf)
    rank = jnp.argsort(jnp.argsort(-score, axis=-1), axis=-1)
    return among & (rank < count[:, None])


def log_prob_of(log_p: LogProbs, tokens: Tokens) -> Float[Array, "batch length"]:
    """Return the log-probability of the token at each position; that of a mask means nothing."""
    index = jnp.minimum(tokens, log_p.shape[-1] - 1)[..., None]
    return jnp.take_along_axis(log_p, index, axis=-1)[..., 0]


def choice_noise(
    key: PRNGKey, schedule: Schedule, scale: Leaf, like: Array, s: Timesteps
) -> Float[Array, "batch length"]:
    """Draw Gumbel noise whose scale falls to 0 with s/T."""
    return scale * (s / schedule.num_steps)[:, None] * gumbel(key, like.shape)


@functools.cache
def halton_ranks(rows: int, columns: int) -> np.ndarray:
    """Return the place of each position of a grid, row by row, in a Halton sequence.

    >>> halton_ranks(2, 3).tolist()
    [5, 3, 1, 2, 0, 4]
    """
    found: dict[int, int] = {}
    index = 1
    while len(found) < rows * columns:
        row, column = int(_radical(index, 2) * rows), int(_radical(index, 3) * columns)
        found.setdefault(row * columns + column, len(found))
        index += 1
    return np.array([found[place] for place in range(rows * columns)], np.int32)


def _radical(index: int, base: int) -> float:
    """Mirror the digits of a number at the point: the van der Corput sequence."""
    value, unit = 0.0, 1.0
    while index:
        index, digit = divmod(index, base)
        unit /= base
        value += digit * unit
    return value


def check_masks(schedule: Schedule) -> None:
    """Raise a ValueError unless a schedule masks tokens, which an order needs."""
    require(
        lambda mask: mask > 0.0,
        "an order reveals masks, and the schedule makes none (gamma_bar at T is {value}): take "
        'the sampler "ancestral"',
        schedule.gamma_bar[-1],
    )


def check_at_least(name: str, value: Leaf, least: float) -> None:
    """Raise a ValueError unless an option is a finite number from ``least`` on, where known."""
    check_scalar(name, value)
    require(
        lambda x: (x >= least) & (x < float("inf")),
        f"{name} must be finite and at least {least:g}, got {{value}}",
        value,
    )
