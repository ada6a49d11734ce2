"""AdamW with clipping, a warm-up, three ways to go on after it, and the average of the weights.

The update is optax's; the numbers of the published PyTorch code are reproduced.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from cdcd_jax.typing import Params


class Optimizer(NamedTuple):
    """Pair an update rule with the learning rate it is about to use.

    Attributes:
        init: ``(params) -> opt_state``.
        update: ``(grads, opt_state, params, value=loss) -> (updates, opt_state)``.
        learning_rate: ``(opt_state) -> scalar``, the rate of the next update.
    """

    init: Callable[[Params], Any]
    update: Callable[..., tuple[Any, Any]]
    learning_rate: Callable[[Any], Float[Array, ""]]


def make_optimizer(
    *,
    lr: float,
    num_steps: int,
    decay: str = "cosine",
    warmup_steps: int = 0,
    warmup_from: float = 0.0,
    end_lr: float = 0.0,
    plateau_factor: float = 0.5,
    plateau_patience: int = 7,
    plateau_threshold: float = 0.1,
    plateau_window: int = 100,
    b1: float = 0.9,
    b2: float = 0.96,
    eps: float = 1e-8,
    weight_decay: float = 4.5e-2,
    clip_norm: float = 0.5,
) -> Optimizer:
    """Build AdamW with a global-norm clip and a learning-rate schedule.

    The rate rises linearly from ``warmup_from`` to ``lr`` in ``warmup_steps`` updates. After that
    it stays (``constant``), falls to ``end_lr`` on half a cosine that ends at update ``num_steps``
    (``cosine``), or is cut by ``plateau_factor``, never below ``end_lr``, when the training loss
    stops improving (``plateau``): the loss is averaged over windows of ``plateau_window`` updates,
    and a window counts as better if it is below ``1 - plateau_threshold`` times the best; one more
    than ``plateau_patience`` windows in a row without that bring the cut.

    Args:
        lr: Peak rate, > 0.
        num_steps: Update at which the cosine ends; unused by the others.
        decay: What follows the warm-up: ``"constant"``, ``"cosine"`` or ``"plateau"``.
        warmup_steps: Length of the warm-up, >= 0.
        warmup_from: Rate of the first update of the warm-up, 0..lr.
        end_lr: Smallest rate after the warm-up, 0..lr.
        plateau_factor: Share of the rate kept by a cut, in (0, 1).
        plateau_patience: Windows without improvement that are put up with, >= 0.
        plateau_threshold: Relative improvement that counts, in (0, 1).
        plateau_window: Number of losses averaged before they are compared, >= 1.
        b1: Decay of the first moment, in [0, 1).
        b2: Decay of the second moment, in [0, 1).
        eps: Added to the root of the second moment, > 0.
        weight_decay: Decoupled decay of every parameter, times the rate, >= 0.
        clip_norm: Largest global norm of the gradient, > 0.

    Returns:
        The optimizer. Its state, plateau included, is a plain pytree.

    Raises:
        ValueError: If a value is out of its range.

    Note:
        The reference feeds its plateau the loss of single steps with a patience of tens of
        thousands. A window of 1 does that here.

    >>> optimizer = make_optimizer(lr=1e-3, num_steps=100, warmup_steps=10)
    >>> float(optimizer.learning_rate(optimizer.init({"w": jnp.ones(2)})))
    0.0
    """
    positive = {"lr": lr, "num_steps": num_steps, "eps": eps, "clip_norm": clip_norm}
    positive["plateau_window"] = plateau_window
    unsigned = {"warmup_steps": warmup_steps, "weight_decay": weight_decay}
    unsigned["plateau_patience"] = plateau_patience
    fractions = {"b1": b1, "b2": b2}
    inside = {"plateau_factor": plateau_factor, "plateau_threshold": plateau_threshold}
    rates = {"warmup_from": warmup_from, "end_lr": end_lr}
    _check(positive, lambda x: 0 < x < math.inf, "must be above 0 and finite")
    _check(unsigned, lambda x: 0 <= x < math.inf, "must be 0 or above and finite")
    _check(fractions, lambda x: 0 <= x < 1, "must lie in [0, 1)")
    _check(inside, lambda x: 0 < x < 1, "must lie between 0 and 1")
    _check(rates, lambda x: 0 <= x <= lr, f"must lie between 0 and lr = {lr}")
    schedule = _schedule(lr, num_steps, decay, warmup_steps, warmup_from, end_lr)
    parts = {
        "clip": optax.clip_by_global_norm(clip_norm),
        "adamw": optax.adamw(
            schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, nesterov=False
        ),
    }
    if decay == "plateau":
        parts["plateau"] = optax.contrib.reduce_on_plateau(
            factor=plateau_factor,
            # optax cuts at the patience-th window without improvement, PyTorch at the one after it.
            patience=plateau_patience + 1,
            rtol=plateau_threshold,
            accumulation_size=plateau_window,
            min_scale=end_lr / lr,
        )
    chain = optax.named_chain(*parts.items())

    def learning_rate(opt_state: Any) -> Float[Array, ""]:
        # The last part of optax.adamw's chain is the schedule.
        rate = jnp.asarray(schedule(opt_state["adamw"][-1].count), jnp.float32)
        return rate * opt_state["plateau"].scale if "plateau" in parts else rate

    return Optimizer(chain.init, chain.update, learning_rate)


def update_ema(
    ema_params: Params,
    params: Params,
    step: Int[Array, ""],
    *,
    decay: float,
    every: int,
) -> Params:
    """Move the average towards the parameters: ``ema <- decay ema + (1 - decay) params``.

    Args:
        ema_params: The average so far.
        params: The parameters after the update.
        step: Number of updates applied, this one included, >= 1.
        decay: Share of the old average kept, in [0, 1].
        every: The average moves when ``step`` is a multiple of this; the reference takes 25.

    Returns:
        The new average.

    >>> ema = update_ema({"w": jnp.zeros(1)}, {"w": jnp.ones(1)}, jnp.int32(2), decay=0.9, every=2)
    >>> round(float(ema["w"][0]), 6)
    0.1
    """
    # A rate of zero instead of a branch: the average is touched anyway where the step is fused.
    rate = jnp.where(step % every == 0, 1.0 - decay, 0.0)
    return jax.tree.map(lambda new, old: rate * new + (1.0 - rate) * old, params, ema_params)


def _schedule(
    lr: float, num_steps: int, decay: str, warmup_steps: int, warmup_from: float, end_lr: float
) -> optax.Schedule:
    if decay == "cosine":
        if warmup_steps >= num_steps:
            raise ValueError(
                f"warmup_steps = {warmup_steps} leaves nothing of num_steps = {num_steps} for the "
                "cosine; shorten the warm-up"
            )
        after = optax.cosine_decay_schedule(lr, num_steps - warmup_steps, alpha=end_lr / lr)
    elif decay in ("constant", "plateau"):
        after = optax.constant_schedule(lr)
    else:
        raise ValueError(f'decay = "{decay}" must be one of "constant", "cosine", "plateau"')
    if warmup_steps == 0:
        return after
    warmup = optax.linear_schedule(warmup_from, lr, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def _check(values: Mapping[str, float | int], holds: Callable[[float], bool], rule: str) -> None:
    for name, value in values.items():
        if not holds(value):
            raise ValueError(f"{name} = {value} {rule}")
