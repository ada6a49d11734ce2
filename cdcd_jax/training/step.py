"""The training step: a pure function, compiled once."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from cdcd_jax.training.optimizer import Optimizer, update_ema
from cdcd_jax.training.state import TrainState
from cdcd_jax.typing import Params, PRNGKey

Batch: TypeAlias = Mapping[str, Any]
"""Arrays whose first axis is the batch."""

Metrics: TypeAlias = dict[str, jax.Array]
"""Scalars by name, still on the device."""


class Objective(NamedTuple):
    """A loss to minimise, as pure functions between which a batch may be split into parts.

    Whatever is random is drawn for the whole batch, and whatever is carried from step to step is
    updated once, from all rows in their order: only ``loss`` works through a part at a time.

    Attributes:
        loss: ``loss(params, batch, stats) -> (loss, (metrics, aux))``: a mean over the rows of
            ``batch``, scalars that are means too, and arrays by row for ``update``.
        draw: ``draw(key, batch, stats) -> batch`` with all that is random added, by row.
        update: ``update(key, stats, aux) -> (stats, metrics)``, with the key that ``draw`` was
            given: at most one of the two may use it.
    """

    loss: Callable[[Params, Batch, Any], tuple[jax.Array, tuple[Metrics, Any]]]
    draw: Callable[[PRNGKey, Batch, Any], Batch] = lambda key, batch, stats: batch
    update: Callable[[PRNGKey, Any, Any], tuple[Any, Metrics]] = lambda key, stats, aux: (
        stats,
        {},
    )

    def __call__(
        self, key: PRNGKey, params: Params, batch: Batch, stats: Any
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Return ``(loss, (metrics, stats))`` of a whole batch at once."""
        batch = self.draw(key, batch, stats)
        loss, (metrics, aux) = self.loss(params, batch, stats)
        stats, more_metrics = self.update(key, stats, aux)
        return loss, (metrics | more_metrics, stats)


TrainStep: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

COUNTS = ("skipped", "skipped_in_row", "diverged_at")
"""Fields of the state that are also metrics: their values after the step."""


def make_train_step(
    objective: Objective,
    optimizer: Optimizer,
    *,
    num_microbatches: int = 1,
    ema_decay: float = 0.99,
    ema_every: int = 1,
    max_skipped: int = 0,
) -> TrainStep:
    """Build the function that applies one update.

    Args:
        objective: The loss, see ``Objective``.
        optimizer: From ``make_optimizer``.
        num_microbatches: The batch is worked through in this many equal parts, one after another,
            and their gradients averaged: the memory of a part, the gradient of the whole. Every
            row meets the noise that it would have met in one part.
        ema_decay: Share of the average of the weights kept when it moves, in [0, 1].
        ema_every: Number of updates between two moves of the average, >= 1.
        max_skipped: How many steps in a row may be skipped because their loss or gradient is not
            finite, >= 0. A skipped step moves on to the next batch and noise and changes nothing
            else; one more in a row, and the run has diverged.

    Returns:
        ``train_step(state, batch) -> (state, metrics)``, to be compiled with the state donated. The
        metrics are the objective's and ``loss``, ``grad_norm`` (before clipping), ``lr`` (of this
        update) and ``skipped``, ``skipped_in_row`` and ``diverged_at`` (see ``TrainState``).

    Raises:
        ValueError: If an option is out of range.

    >>> from cdcd_jax.training.optimizer import make_optimizer
    >>> from cdcd_jax.training.state import init_state
    >>> def loss(params, batch, stats):
    ...     return jnp.mean((batch["x"] - params["w"]) ** 2), ({}, ())
    >>> optimizer = make_optimizer(lr=0.1, num_steps=9)
    >>> state = init_state(jax.random.key(0), lambda key: {"w": jnp.zeros(())}, optimizer, None)
    >>> train_step = jax.jit(make_train_step(Objective(loss), optimizer), donate_argnums=0)
    >>> state, metrics = train_step(state, {"x": jnp.ones(4)})
    >>> int(state.step), float(metrics["loss"]), sorted(metrics)
    (1, 1.0, ['diverged_at', 'grad_norm', 'loss', 'lr', 'skipped', 'skipped_in_row'])
    """
    if num_microbatches < 1:
        raise ValueError(f"num_microbatches = {num_microbatches} must be at least 1")
    if not 0 <= ema_decay <= 1:
        raise ValueError(f"ema_decay = {ema_decay} must be in [0, 1]")
    if ema_every < 1:
        raise ValueError(f"ema_every = {ema_every} must be at least 1")
    if max_skipped < 0:
        raise ValueError(f"max_skipped = {max_skipped} must be at least 0; 0 skips no step")

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        batch = objective.draw(key, batch, state.stats)
        (loss, (metrics, aux)), grads = _mean_gradient(
            objective, state.params, batch, state.stats, num_microbatches
        )
        stats, more_metrics = objective.update(key, state.stats, aux)
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=loss)
        params: Params = jax.tree.map(jnp.add, state.params, updates)
        step = state.step + 1
        updated = dataclasses.replace(
            state,
            step=step,
            params=params,
            ema_params=update_ema(state.ema_params, params, step, decay=ema_decay, every=ema_every),
            opt_state=opt_state,
            stats=stats,
        )
        good = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        lr = optimizer.learning_rate(state.opt_state)
        state = _keep_if(good, updated, state, max_skipped)
        metrics = metrics | more_metrics | {"loss": loss, "grad_norm": grad_norm, "lr": lr}
        counts = {name: getattr(state, name) for name in COUNTS}
        return state, metrics | counts

    return train_step


def _mean_gradient(
    objective: Objective, params: Params, batch: Batch, stats: Any, parts: int
) -> tuple[tuple[jax.Array, tuple[Metrics, Any]], Params]:
    """Average loss, metrics and gradient over equal parts of a batch, one part at a time.

    What ``update`` needs to see of the rows is put together again in the order of the batch.
    """
    gradient_fn = jax.value_and_grad(objective.loss, has_aux=True)
    if parts == 1:
        return gradient_fn(params, batch, stats)

    def add_part(total, part):
        (loss, (metrics, aux)), grads = gradient_fn(params, part, stats)
        return jax.tree.map(jnp.add, total, (loss, metrics, grads)), aux

    # Every parts-th row goes to a part, so that a batch split over devices stays on them.
    rows = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1), batch
    )
    (loss, (metrics, _)), grads = jax.eval_shape(
        gradient_fn, params, jax.tree.map(lambda x: x[0], rows), stats
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, grads))
    total, aux = jax.lax.scan(add_part, zeros, rows)
    loss, metrics, grads = jax.tree.map(lambda x: x / parts, total)
    aux = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), aux)
    return (loss, (metrics, aux)), grads


def _keep_if(
    good: jax.Array, updated: TrainState, state: TrainState, max_skipped: int
) -> TrainState:
    """Apply the update, or skip it and count, or stay at the diverged state."""
    going = state.diverged_at == 0
    too_many = going & ~good & (state.skipped_in_row >= max_skipped)
    skip = going & ~good & ~too_many
    take = going & good
    changing = ("params", "ema_params", "opt_state", "stats")
    chosen = {
        name: jax.tree.map(partial(jnp.where, take), getattr(updated, name), getattr(state, name))
        for name in changing
    }
    return dataclasses.replace(
        state,
        step=jnp.where(take | skip, updated.step, state.step),
        skipped_in_row=jnp.where(take, 0, state.skipped_in_row + skip),
        skipped=state.skipped + skip,
        diverged_at=jnp.where(too_many, updated.step, state.diverged_at),
        **chosen,
    )
