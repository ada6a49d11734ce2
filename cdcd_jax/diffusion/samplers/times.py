"""Time grids: which steps of the schedule a sampler visits."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from cdcd_jax.checks import check_count

NAMES = ("uniform", "cosine", "polynomial")
"""Time grids by name."""

Times: TypeAlias = "str | Sequence[int] | np.ndarray"
"""A time grid: one of `NAMES`, or the steps themselves."""


def make_times(
    total: int, num_steps: int | None = None, times: Times = "uniform", *, power: float = 2.0
) -> Int[np.ndarray, " steps"]:
    """Choose the steps T = times[0] > times[1] > ... > 0 that a sampler visits.

    With r running evenly from 0 to 1 the steps are, rounded and kept apart,

        uniform     T (1 - r)
        cosine      T cos(pi r / 2), the masks of MaskGIT (Sec. 3.3)
        polynomial  T (1 - r^power)

    Cosine and a power above 1 begin with small steps, when a network knows least, and end with
    large ones; a power below 1 does the opposite.

    Args:
        total: T, the steps of the schedule.
        num_steps: Steps to take, 1..T; T when None.
        times: ``"uniform"``, ``"cosine"``, ``"polynomial"`` or the steps themselves, from T to 0.
        power: Of the polynomial, above 0.

    Returns:
        The num_steps + 1 steps.

    Raises:
        ValueError: There are not so many steps, or those given do not fall from T to 0.

    Example:
        >>> make_times(80, 5).tolist(), make_times(80, 5, "cosine").tolist()
        ([80, 64, 48, 32, 16, 0], [80, 76, 65, 47, 25, 0])
        >>> make_times(10, times=[10, 3, 0]).tolist()
        [10, 3, 0]
    """
    if not isinstance(times, str):
        return _check_given(times, total, num_steps)
    if times not in NAMES:
        raise ValueError(
            f'times = "{times}" is not a time grid: there are {", ".join(NAMES)}, or give the steps'
        )
    count = total if num_steps is None else num_steps
    check_count("num_steps", count)
    if not 1 <= count <= total:
        raise ValueError(
            f"num_steps must be between 1 and the {total} steps of the schedule, got {count}"
        )
    if times == "uniform":
        return np.round(np.linspace(total, 0, count + 1)).astype(np.int32)
    if not power > 0.0:
        raise ValueError(f"power = {power} must be above 0")
    r = np.linspace(0.0, 1.0, count + 1)
    left = np.cos(0.5 * np.pi * r) if times == "cosine" else 1.0 - r**power
    return _keep_apart(np.round(total * left).astype(np.int32))


def _keep_apart(times: np.ndarray) -> np.ndarray:
    """Move steps that were rounded to the same, as little as possible."""
    last = len(times) - 1
    times[0], times[-1] = times[0], 0
    for index in range(1, last):
        times[index] = max(min(times[index], times[index - 1] - 1), last - index)
    return times


def _check_given(times: Any, total: int, num_steps: int | None) -> np.ndarray:
    found = np.asarray(times)
    if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) < 2:
        raise ValueError(
            f"times must be a time grid by its name ({', '.join(NAMES)}) or whole numbers from "
            f"T = {total} to 0, got {times!r}"
        )
    found = found.astype(np.int64)
    if found[0] != total or found[-1] != 0:
        raise ValueError(
            f"times must begin with T = {total} and end with 0, got {found[0]} to {found[-1]}"
        )
    if np.any(rising := np.diff(found) >= 0):
        place = int(np.argmax(rising))
        raise ValueError(
            f"times must fall from T = {total} to 0, got times[{place + 1}] = {found[place + 1]} "
            f"after {found[place]}"
        )
    if num_steps not in (None, total, len(found) - 1):  # T is what a configuration means by None
        raise ValueError(
            f"num_steps = {num_steps}, and times has {len(found) - 1} steps: leave num_steps out"
        )
    return found.astype(np.int32)
