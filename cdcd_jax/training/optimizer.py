"""AdamW with clipping, a warm-up, a schedule after it, and the average of the weights.

The update is optax's; the numbers of the published PyTorch code are reproduced.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from cdcd_jax.training.plateau import scale_on_plateau
from cdcd_jax.typing import Params


class Optimizer(NamedTuple):
    """An update rule with the learning rate of its next update.

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
    plateau_patience: int = 60_000,
    plateau_threshold: float = 0.1,
    cooldown_steps: int | None = None,
    b1: float = 0.9,
    b2: float = 0.96,
    eps: float = 1e-8,
    weight_decay: float = 4.5e-2,
    clip_norm: float = 0.5,
    clip_steps: int | None = None,
) -> Optimizer:
    """Build AdamW with a global-norm clip and a learning-rate schedule.

    The rate rises linearly from ``warmup_from`` to ``lr`` in ``warmup_steps`` updates. ``decay``
    says what follows:

    - ``constant``: it stays.
    - ``cosine``: it falls to ``end_lr`` on half a cosine that ends at update ``num_steps``.
    - ``wsd`` (warm-up, stable, decay): it stays and falls linearly to ``end_lr`` in the last
      ``cooldown_steps`` before update ``num_steps``. A longer run has the same rates up to there,
      so a run can continue from any of its checkpoints.
    - ``plateau``: it is cut by ``plateau_factor``, never below ``end_lr``, after more than
      ``plateau_patience`` updates in a row whose loss is not below ``1 - plateau_threshold`` times
      the best. Losses of the warm-up do not count.

    Args:
        lr: Peak rate, > 0.
        num_steps: Update at which ``cosine`` and ``wsd`` end; unused by the others.
        decay: What follows the warm-up: ``"constant"``, ``"cosine"``, ``"wsd"`` or ``"plateau"``.
        warmup_steps: Length of the warm-up, >= 0.
        warmup_from: Rate of the first update of the warm-up, 0..lr.
        end_lr: Smallest rate after the warm-up, 0..lr.
        plateau_factor: Share of the rate kept by a cut, in (0, 1).
        plateau_patience: Updates in a row without improvement that bring no cut yet, >= 0.
        plateau_threshold: Relative improvement that counts, in (0, 1).
        cooldown_steps: Length of the fall of ``wsd``, >= 1; None takes a fifth of ``num_steps``.
        b1: Decay of the first moment, in [0, 1).
        b2: Decay of the second moment, in [0, 1).
        eps: Added to the root of the second moment, > 0.
        weight_decay: Decoupled decay of every parameter, times the rate, >= 0.
        clip_norm: Largest global norm of the gradient, > 0.
        clip_steps: Number of updates that are clipped, the first ones; None clips all.

    Returns:
        The optimizer. Its state, plateau included, is a plain pytree.

    Raises:
        ValueError: If a value is out of its range.

    Note:
        The published settings of clipping end it at iteration 5,000, but the published code clips
        at every iteration: the end is tested beside a start of 0 that always holds.

    References:
        Hu et al., 2024, MiniCPM (https://arxiv.org/abs/2404.06395): ``wsd``.

    >>> optimizer = make_optimizer(lr=1e-3, num_steps=100, warmup_steps=10)
    >>> float(optimizer.learning_rate(optimizer.init({"w": jnp.ones(2)})))
    0.0
    """
    positive = {"lr": lr, "num_steps": num_steps, "eps": eps, "clip_norm": clip_norm}
    positive |= {} if clip_steps is None else {"clip_steps": clip_steps}
    positive |= {} if cooldown_steps is None else {"cooldown_steps": cooldown_steps}
    unsigned = {"warmup_steps": warmup_steps, "weight_decay": weight_decay}
    unsigned["plateau_patience"] = plateau_patience
    fractions = {"b1": b1, "b2": b2}
    inside = {"plateau_factor": plateau_factor, "plateau_threshold": plateau_threshold}
    rates = {"warmup_from": warmup_from, "end_lr": end_lr}
    _check(positive, lambda x: 0 < x < math.inf, "must be above 0 and finite")
    _check(unsigned, lambda x: 0 <= x < math.inf, "must be 0 or above and finite")
    _check(fractions, lambda x: 0 <= x < 1, "must be in [0, 1)")
    _check(inside, lambda x: 0 < x < 1, "must are between 0 and 1")
    _check(rates, lambda x: 0 <= x <= lr, f"must are between 0 and lr = {lr}")
    schedule = _schedule(lr, num_steps, decay, warmup_steps, warmup_from, end_lr, cooldown_steps)
    clip = optax.clip_by_global_norm(clip_norm)
    if clip_steps is not None:
        clip = optax.conditionally_transform(clip, lambda step, **_: jnp.less(step, clip_steps))
    parts = {
        "clip": clip,
        "adamw": optax.adamw(
            schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, nesterov=False
        ),
    }
    if decay == "plateau":
        parts["plateau"] = scale_on_plateau(
            factor=plateau_factor,
            patience=plateau_patience,
            threshold=plateau_threshold,
            min_scale=end_lr / lr,
            warmup_steps=warmup_steps,
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
    lr: float,
    num_steps: int,
    decay: str,
    warmup_steps: int,
    warmup_from: float,
    end_lr: float,
    cooldown_steps: int | None,
) -> optax.Schedule:
    if decay in ("cosine", "wsd") and warmup_steps >= num_steps:
        raise ValueError(
            f"warmup_steps = {warmup_steps} leaves nothing of num_steps = {num_steps} for the "
            f'decay "{decay}"; shorten the warm-up'
        )
    after_warmup = num_steps - warmup_steps
    if decay == "cosine":
        after = optax.cosine_decay_schedule(lr, after_warmup, alpha=end_lr / lr)
    elif decay == "wsd":
        cooldown = max(num_steps // 5, 1) if cooldown_steps is None else cooldown_steps
        if cooldown > after_warmup:
            raise ValueError(
                f"cooldown_steps = {cooldown} is longer than the {after_warmup} updates after the "
                "warm-up; shorten it"
            )
        after = optax.linear_schedule(lr, end_lr, cooldown, after_warmup - cooldown)
    elif decay in ("constant", "plateau"):
        after = optax.constant_schedule(lr)
    else:
        raise ValueError(f'decay = "{decay}" must be one of "constant", "cosine", "plateau", "wsd"')
    if warmup_steps == 0:
        return after
    warmup = optax.linear_schedule(warmup_from, lr, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def _check(values: Mapping[str, float | int], holds: Callable[[float], bool], rule: str) -> None:
    for name, value in values.items():
        if not holds(value):
            raise ValueError(f"{name} = {value} {rule}")
