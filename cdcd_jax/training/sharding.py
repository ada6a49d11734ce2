"""Where arrays live: the batch is split over all devices, everything else is on each of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Arrange devices along one axis, ``data``.

    Args:
        devices: Which ones; all of all processes if None.

    Returns:
        The mesh.

    >>> dict(make_mesh(jax.devices()[:1]).shape)
    {'data': 1}
    """
    return Mesh(np.asarray(jax.devices() if devices is None else devices), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Say that an array is whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Say that an array's first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh, *, num_microbatches: int = 1) -> None:
    """Check that a batch divides evenly into microbatches, and those over the devices.

    Args:
        batch_size: Number of examples in a batch, of all processes together.
        mesh: From ``make_mesh``.
        num_microbatches: Parts that a step works through one after another.

    Raises:
        ValueError: If it does not divide; the sentence names sizes that do.

    >>> check_batch_size(6, make_mesh(jax.devices()[:1]), num_microbatches=4)
    Traceback (most recent call last):
    ValueError: batch_size = 6 does not divide into 4 microbatches on each of 1 devices; take 4 or 8
    """
    unit = num_microbatches * mesh.size
    if batch_size < 1 or batch_size % unit:
        below = batch_size // unit * unit
        choices = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        raise ValueError(
            f"batch_size = {batch_size} does not divide into {num_microbatches} microbatches on "
            f"each of {mesh.size} devices; take {choices}"
        )


def place_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Put this process's rows of a batch on its devices.

    Args:
        batch: Arrays whose first axis holds this process's examples.
        mesh: From ``make_mesh``.

    Returns:
        The whole batch as arrays split over the mesh.
    """
    sharding = split_batch(mesh)
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(sharding, rows), dict(batch)
    )
