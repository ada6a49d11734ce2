"""Decisions that all hosts of a run take together.

On one host these cost nothing; on many, each is a wait for all.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from cdcd_jax.distributed.host_progress import meeting
from cdcd_jax.io import is_first_host


def all_agree(ours: bool) -> bool:
    """Return whether the answer is yes on every host.

    >>> all_agree(True), all_agree(False)
    (True, False)
    """
    if jax.process_count() == 1:
        return ours
    with meeting("agreeing with the others"):
        return bool(np.all(multihost_utils.process_allgather(np.asarray(ours))))


def on_first_host(what: str, action: Callable[[], object]) -> None:
    """Do something on the first host alone: all wait for it, and all fail where it fails.

    Args:
        what: What is done, for the error of the others.
        action: Called on the first host.

    Raises:
        ValueError: On the other hosts, if it failed.

    >>> on_first_host("greeting", lambda: print("hello"))
    hello
    """
    failure = None
    if is_first_host():
        try:
            action()
        except Exception as error:
            failure = error
    if not all_agree(failure is None):
        raise failure or ValueError(f"{what} failed; host 0 says why")


def broadcast_from_host0(numbers: Sequence[int]) -> list[int]:
    """Return what host 0 has given.

    Args:
        numbers: On other hosts, anything. Each of 32 bits.

    Returns:
        The numbers of host 0.

    >>> broadcast_from_host0([3, 5])
    [3, 5]
    """
    if jax.process_count() == 1:
        return list(numbers)
    with meeting("fetching numbers of host 0"):
        length = int(multihost_utils.broadcast_one_to_all(np.asarray(len(numbers), np.int32)))
        ours = np.zeros(length, np.int32)
        if is_first_host():
            ours[:] = numbers
        return [int(number) for number in multihost_utils.broadcast_one_to_all(ours)]
