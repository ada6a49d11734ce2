"""Reduction of the learning rate on a plateau, as PyTorch's ``ReduceLROnPlateau``."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class PlateauState(NamedTuple):
    """The losses so far, as far as the rate depends on them.

    Attributes:
        num_updates: Number of updates.
        best: Smallest loss that counted as an improvement.
        num_bad: Number of updates in a row, up to the newest, without an improvement.
        scale: Factor of the rate of the next update.
    """

    num_updates: Int[Array, ""]
    best: Float[Array, ""]
    num_bad: Int[Array, ""]
    scale: Float[Array, ""]


def scale_on_plateau(
    *, factor: float, patience: int, threshold: float, min_scale: float, warmup_steps: int
) -> optax.GradientTransformationExtraArgs:
    """Scale updates by a factor that is cut when the loss stops falling.

    A loss is an improvement if it is below ``(1 - threshold) * best``. More than ``patience``
    updates in a row without one bring the cut, from the next update on. Losses of the warm-up do
    not count at all.

    Args:
        factor: Share of the scale kept by a cut, in (0, 1).
        patience: Updates in a row without improvement that bring no cut yet, >= 0.
        threshold: Relative improvement that counts, in [0, 1).
        min_scale: Smallest scale, in [0, 1].
        warmup_steps: Number of updates whose loss does not count, >= 0.

    Returns:
        A transformation whose ``update`` takes the loss of the update as ``value``.

    Note:
        ``optax.contrib.reduce_on_plateau`` counts from the first update on, and applies a cut to
        the very update whose loss brought it.

    >>> plateau = scale_on_plateau(
    ...     factor=0.5, patience=1, threshold=0.1, min_scale=0.1, warmup_steps=0
    ... )
    >>> state = plateau.init(None)
    >>> for loss in (1.0, 0.95, 0.95):
    ...     _, state = plateau.update(jnp.ones(()), state, value=loss)
    >>> float(state.scale)
    0.5
    """

    def init(params: Any) -> PlateauState:
        del params
        return PlateauState(
            num_updates=jnp.zeros((), jnp.int32),
            best=jnp.full((), jnp.inf, jnp.float32),
            num_bad=jnp.zeros((), jnp.int32),
            scale=jnp.ones((), jnp.float32),
        )

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, PlateauState]:
        del params
        value = extra["value"]
        counts = state.num_updates >= warmup_steps
        better = counts & (value < state.best * (1 - threshold))
        num_bad = jnp.where(better, 0, state.num_bad + counts)
        cut = num_bad > patience
        new_state = PlateauState(
            num_updates=jnp.asarray(optax.safe_increment(state.num_updates)),
            best=jnp.where(better, value, state.best).astype(jnp.float32),
            num_bad=jnp.where(cut, 0, num_bad),
            scale=jnp.where(cut, jnp.maximum(state.scale * factor, min_scale), state.scale),
        )
        return optax.tree.scale(state.scale, updates), new_state

    return optax.GradientTransformationExtraArgs(init, update)
