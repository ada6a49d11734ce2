"""One update of the whole state: a pure function, compiled once and fed its own output."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

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

Objective: TypeAlias = Callable[
    [PRNGKey, Params, Batch, Any], tuple[jax.Array, tuple[Metrics, Any]]
]
"""``objective(key, params, batch, stats) -> (loss, (metrics, stats))``: what is minimised, as a
mean over the batch, and what is told about it."""

TrainStep: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    objective: Objective,
    optimizer: Optimizer,
    *,
    num_microbatches: int = 1,
    ema_decay: float = 0.99,
    ema_every: int = 1,
) -> TrainStep:
    """Build the function that applies one update.

    Args:
        objective: The loss, see ``Objective``.
        optimizer: From ``make_optimizer``.
        num_microbatches: The batch is worked through in this many equal parts, one after another,
            and their gradients averaged: the memory of a part, the gradient of the whole. Each part
            draws its own noise.
        ema_decay: Share of the average of the weights kept when it moves, in [0, 1].
        ema_every: Number of updates between two moves of the average, >= 1.

    Returns:
        ``train_step(state, batch) -> (state, metrics)``, to be compiled with the state donated. The
        metrics are the objective's and ``loss``, ``grad_norm`` (before clipping), ``lr`` (of this
        update) and ``diverged_at`` (see ``TrainState``).

    Raises:
        ValueError: If an option is out of range.

    >>> from cdcd_jax.training.optimizer import make_optimizer
    >>> from cdcd_jax.training.state import init_state
    >>> def objective(key, params, batch, stats):
    ...     return jnp.mean((batch["x"] - params["w"]) ** 2), ({}, stats)
    >>> optimizer = make_optimizer(lr=0.1, num_steps=9)
    >>> state = init_state(jax.random.key(0), lambda key: {"w": jnp.zeros(())}, optimizer, None)
    >>> train_step = jax.jit(make_train_step(objective, optimizer), donate_argnums=0)
    >>> state, metrics = train_step(state, {"x": jnp.ones(4)})
    >>> int(state.step), float(metrics["loss"]), sorted(metrics)
    (1, 1.0, ['diverged_at', 'grad_norm', 'loss', 'lr'])
    """
    if num_microbatches < 1:
        raise ValueError(f"num_microbatches = {num_microbatches} must be at least 1")
    if not 0 <= ema_decay <= 1:
        raise ValueError(f"ema_decay = {ema_decay} must lie in [0, 1]")
    if ema_every < 1:
        raise ValueError(f"ema_every = {ema_every} must be at least 1")

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        loss, metrics, stats, grads = _mean_gradient(
            objective, key, state.params, batch, state.stats, num_microbatches
        )
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
        good = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & (state.diverged_at == 0)
        lr = optimizer.learning_rate(state.opt_state)
        state = _keep_if(good, updated, state)
        metrics = metrics | {"loss": loss, "grad_norm": grad_norm, "lr": lr}
        return state, metrics | {"diverged_at": state.diverged_at}

    return train_step


def _mean_gradient(
    objective: Objective, key: PRNGKey, params: Params, batch: Batch, stats: Any, parts: int
) -> tuple[jax.Array, Metrics, Any, Params]:
    """Average loss, metrics and gradient over equal parts of a batch, one part at a time."""
    gradient_fn = jax.value_and_grad(objective, argnums=1, has_aux=True)
    if parts == 1:
        (loss, (metrics, stats)), grads = gradient_fn(key, params, batch, stats)
        return loss, metrics, stats, grads

    def add_part(carry, part):
        stats, total = carry
        part_key, part_rows = part
        (loss, (metrics, stats)), grads = gradient_fn(part_key, params, part_rows, stats)
        return (stats, jax.tree.map(jnp.add, total, (loss, metrics, grads))), None

    keys = jax.random.split(key, parts)
    # Every parts-th row goes to a part, so that a batch split over devices stays on them.
    rows = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1), batch
    )
    (loss, (metrics, _)), grads = jax.eval_shape(
        gradient_fn, key, params, jax.tree.map(lambda x: x[0], rows), stats
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, grads))
    (stats, total), _ = jax.lax.scan(add_part, (stats, zeros), (keys, rows))
    loss, metrics, grads = jax.tree.map(lambda x: x / parts, total)
    return loss, metrics, stats, grads


def _keep_if(good: jax.Array, updated: TrainState, state: TrainState) -> TrainState:
    """Take the update, or keep the state and note the number of the first step that failed."""
    first_failure = jnp.where(state.diverged_at == 0, updated.step, state.diverged_at)
    changing = ("step", "params", "ema_params", "opt_state", "stats")
    chosen = {
        name: jax.tree.map(partial(jnp.where, good), getattr(updated, name), getattr(state, name))
        for name in changing
    }
    return dataclasses.replace(state, diverged_at=jnp.where(good, 0, first_failure), **chosen)
