"""The devices that a network is compiled for, and how its activations are split over them."""

import math
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array

BATCH = ("data", "fsdp")
"""The mesh axes over which examples are split."""


def constrain(x: Array, *axes: str | tuple[str, ...] | None) -> Array:
    """Constrain the sharding of an activation; without a mesh, do nothing.

    The compiler then moves small things (weights, partial sums) and not this array. The mesh is the
    ambient one, ``jax.sharding.get_abstract_mesh()``. Axes that it lacks or that a ``shard_map``
    around has taken are left out; a dimension that the named axes do not divide is left to the
    compiler, as are those that a vmap adds.

    Args:
        x: The activation.
        *axes: For each dimension of ``x`` the name of a mesh axis or several, or None for a
            dimension that every device holds whole.

    Returns:
        ``x``, the same values.

    >>> constrain(jax.numpy.arange(3.0), "data").tolist()
    [0.0, 1.0, 2.0]
    """
    free = free_axes()
    if not free:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*divide(x.shape, axes, free)))


def free_axes() -> dict[str, int]:
    """Return the axes of the ambient mesh, and their sizes, that the compiler may still use.

    >>> free_axes()
    {}
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return {}
    every = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
    return {name: size for name, size, kind in every if kind == AxisType.Auto}


def platform() -> str:
    """Return what is compiled for: the platform of the ambient mesh, or else this machine's.

    The two differ where a program is compiled for devices that this machine does not have.

    >>> mesh = jax.make_mesh((1,), ("data",), devices=jax.devices("cpu")[:1])
    >>> with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    ...     platform()
    'cpu'
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def divide(
    shape: tuple[int, ...], axes: tuple[str | tuple[str, ...] | None, ...], free: dict[str, int]
) -> list[Any]:
    """Return the entries of a PartitionSpec: those of the named axes that are free.

    Where their product does not divide a dimension, the entry is ``PartitionSpec.UNCONSTRAINED``.

    >>> divide((8, 3), ("data", "tensor"), {"data": 4, "tensor": 1})
    [('data',), ('tensor',)]
    >>> divide((8, 3), (("data", "fsdp"), None), {"data": 4})
    [('data',), None]
    >>> divide((6,), ("data",), {"data": 4})
    [UNCONSTRAINED]
    """
    entries = []
    for size, names in zip(shape, axes, strict=True):
        wanted = (names,) if isinstance(names, str) else names or ()
        present = tuple(name for name in wanted if name in free)
        whole = size % math.prod(free[name] for name in present) == 0
        entries.append(present or None if whole else PartitionSpec.UNCONSTRAINED)
    return entries
