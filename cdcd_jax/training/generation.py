"""What a trained network is used for, as compiled functions of its parameters."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from cdcd_jax.diffusion.bound import evaluate_bound
from cdcd_jax.diffusion.sampler import sample
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.typing import Params, PRNGKey


def make_bound_fn(schedule: Schedule, apply: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Compile the bound of a network.

    Args:
        schedule: The noise schedule.
        apply: A network's ``apply``.

    Returns:
        ``bound_fn(params, key, z0, cond) -> [batch]``, nats summed over positions.
    """

    @jax.jit
    def bound_fn(params: Params, key: PRNGKey, z0: Any, cond: Any) -> Any:
        return evaluate_bound(key, schedule, partial(apply, params), z0, cond)

    return bound_fn


def make_sample_fn(
    schedule: Schedule, apply: Callable[..., jax.Array], *, length: int
) -> Callable[..., Any]:
    """Compile the sampler of a network.

    Args:
        schedule: The noise schedule.
        apply: A network's ``apply``.
        length: Number of tokens of a sample.

    Returns:
        ``sample_fn(params, key, cond, num_steps=, truncation=, top_k=, temperature=) -> tokens``
        [batch length], a sample for each row of ``cond``; compiled anew for each setting. With
        ``return_trajectory=True`` also the states on the way, [num_steps+1 batch length].
    """
    static = ("num_steps", "truncation", "top_k", "temperature", "return_trajectory")

    @partial(jax.jit, static_argnames=static)
    def sample_fn(params: Params, key: PRNGKey, cond: Any, **options: Any) -> Any:
        shape = (cond.shape[0], length)
        return sample(key, schedule, partial(apply, params), cond, shape=shape, **options)

    return sample_fn


def check_sampling(
    schedule: Schedule,
    num_classes: int,
    *,
    num_samples: int,
    num_steps: int | None,
    truncation: float,
    top_k: int | None,
    temperature: float,
    label: int | None = None,
) -> None:
    """Check what samples are asked for.

    Args:
        schedule: The noise schedule.
        num_classes: Number of classes.
        num_samples: >= 1.
        num_steps: 1..T, or None for T.
        truncation: In (0, 1].
        top_k: 1..K, or None for K.
        temperature: > 0.
        label: A class, or None for all of them in turn.

    Raises:
        ValueError: If a value is out of its range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples = {num_samples} must be at least 1")
    check_num_steps(num_steps, schedule)
    check_truncation("truncation", truncation)
    if top_k is not None and not 1 <= top_k <= schedule.vocab_size:
        raise ValueError(f"top_k = {top_k} must lie in 1..K = 1..{schedule.vocab_size}")
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature = {temperature} must be above 0")
    if label is not None and not 0 <= label < num_classes:
        raise ValueError(f"label = {label} must lie in 0..{num_classes - 1}")


def check_num_steps(num_steps: int | None, schedule: Schedule) -> None:
    """Raise a ValueError unless a number of sampling steps is None or lies in 1..T."""
    if num_steps is not None and not 1 <= num_steps <= schedule.num_steps:
        raise ValueError(
            f"num_steps = {num_steps} must lie in 1..T = 1..{schedule.num_steps}, "
            "as schedule.num_steps says"
        )


def check_truncation(name: str, truncation: float) -> None:
    """Raise a ValueError with the given name unless a truncation rate lies in (0, 1]."""
    if not 0.0 < truncation <= 1.0:
        raise ValueError(f"{name} = {truncation} must lie in (0, 1]; 1 keeps everything")
