"""Support for arrays that devices share.

Inside ``jax.shard_map`` a type says whether values vary over devices; on a mesh of Explicit axes,
over which of them an array is split. Without a mesh nothing here does anything.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec


def vary_like_result(body: Callable[[Any], Any], start: Any) -> Any:
    """Mark where a loop starts as varying over the devices of a ``shard_map`` as its result does.

    Args:
        body: One turn of the loop, of what it carries.
        start: What is carried into the first turn, a tree of arrays.

    Returns:
        The same values, of the type that the loop's result has.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return start
    result = jax.eval_shape(body, start)

    def mark(x: jax.Array, like: Any) -> jax.Array:
        axes = like.manual_axis_type.varying - jax.typeof(x).manual_axis_type.varying
        return jax.lax.pcast(x, tuple(axes), to="varying") if axes else x

    return jax.tree.map(mark, start, result)


def by_device(function: Callable[..., Any], *rows: jax.Array) -> Any:
    """Call a function that treats every row by itself, each device for its own rows.

    A loop in it then lasts as long as a device's rows need: the compiler would have all devices ask
    each other at every turn. The mesh is the ambient one; of its axes those share the rows, in
    their order, that divide them.

    Args:
        function: Of arrays with as many rows as ``rows``; it returns a tree of such.
        *rows: Arrays of one length.

    Returns:
        What the function returns for all rows.

    >>> by_device(lambda x: x + 1, jax.numpy.arange(3)).tolist()
    [1, 2, 3]
    """
    mesh, count = jax.sharding.get_abstract_mesh(), rows[0].shape[0]
    axes: list[str] = []
    for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True):
        size = math.prod(mesh.shape[axis] for axis in axes) * mesh.shape[name]
        if kind == AxisType.Auto and mesh.shape[name] > 1 and count % size == 0:
            axes.append(name)
    if not axes:
        return function(*rows)
    split = PartitionSpec(tuple(axes))
    share = jax.shard_map(function, in_specs=split, out_specs=split, axis_names={*axes})
    return share(*rows)
