"""Support for arrays whose type carries a sharding.

Inside ``jax.shard_map`` a type says whether values vary over devices; on a mesh of Explicit axes,
over which of them an array is split. Elsewhere nothing here does anything.
"""

from collections.abc import Callable
from typing import Any

import jax


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
        axes = jax.typeof(like).manual_axis_type.varying - jax.typeof(x).manual_axis_type.varying
        return jax.lax.pcast(x, tuple(axes), to="varying") if axes else x

    return jax.tree.map(mark, start, result)
