"""Batches of one size for functions that are compiled once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array


def in_batches(
    run: Callable[[Any], Array],
    inputs: np.ndarray,
    empty: np.ndarray,
    *,
    batch_size: int,
    sharding: jax.sharding.Sharding,
) -> np.ndarray:
    """Run batch after batch, the last one filled up with its last example.

    A result is fetched while the next one is computed.

    Args:
        run: Takes exactly ``batch_size`` examples, on the device.
        inputs: Examples, any number of them.
        empty: What comes of no examples.
        batch_size: Examples at once, >= 1.
        sharding: Where a batch goes.

    Returns:
        The results of all examples, in order.
    """
    results, pending = [empty], None
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        missing = batch_size - len(batch)
        full = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        following = run(jax.device_put(full, sharding)), len(batch)
        if pending is not None:
            results.append(np.asarray(pending[0])[: pending[1]])
        pending = following
    if pending is not None:
        results.append(np.asarray(pending[0])[: pending[1]])
    return np.concatenate(results)


def device_shares(batch_size: int) -> tuple[jax.sharding.Sharding, jax.sharding.Sharding]:
    """Return where a batch goes, and where what all batches need goes."""
    devices = jax.local_devices()
    devices = devices if batch_size % len(devices) == 0 else devices[:1]
    mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
    spec = jax.sharding.PartitionSpec
    return (
        jax.sharding.NamedSharding(mesh, spec("batch")),
        jax.sharding.NamedSharding(mesh, spec()),
    )
