"""Merging what the hosts of a run have counted."""

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cdcd_jax.distributed.host_progress import meeting

State = TypeVar("State")


def merge_hosts(merge: Callable[[State, State], State], state: State) -> State:
    """Merge the states of all hosts, in the same order on each, so that all get the same.

    Args:
        merge: Puts two states together.
        state: This host's: a tree of numbers and NumPy arrays, of the same shapes on all hosts.

    Returns:
        The state of all hosts together; on a single host, its own.
    """
    return reduce(merge, gather_hosts(state))


def gather_hosts(state: State) -> list[State]:
    """Fetch the states of all hosts, bit by bit as they are.

    They travel as bytes, since JAX would make float32 of float64.

    Args:
        state: This host's: a tree of numbers and NumPy arrays, of the same shapes on all hosts.

    Returns:
        One state for each host, in their order.
    """
    if jax.process_count() == 1:
        return [state]
    leaves, structure = jax.tree.flatten(state)
    arrays = [np.asarray(leaf) for leaf in leaves]
    message = np.frombuffer(b"".join(array.tobytes() for array in arrays), np.uint8)
    with meeting("merging scores"):
        gathered = np.asarray(multihost_utils.process_allgather(message))
    return [
        jax.tree.unflatten(structure, _unpack(row.tobytes(), arrays))
        for row in gathered.reshape(-1, len(message))
    ]


def _unpack(message: bytes, templates: list[np.ndarray]) -> list[Any]:
    leaves, start = [], 0
    for template in templates:
        values = np.frombuffer(message, template.dtype, template.size, start)
        start += template.nbytes
        leaves.append(values.reshape(template.shape) if template.ndim else values[0].item())
    return leaves
