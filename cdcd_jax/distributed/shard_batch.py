"""Computation of rows split over all devices of all hosts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from cdcd_jax.distributed.host_progress import advance, meeting
from cdcd_jax.distributed.mesh import num_batch_shards, replicated, split_batch
from cdcd_jax.spacing import round_up


def shard_batch(
    function: Callable[..., Any], mesh: Mesh | None, *, static: Sequence[str] = ()
) -> "ShardedRows":
    """Compile a function of rows, each device computing some of them.

    All hosts call it at the same moment, each with all rows, and each gets all results: rows are
    small, and what is computed from them is not. Where the rows do not divide evenly over the
    devices, they are filled up with some of them again.

    Args:
        function: ``function(params, key, rows, *, count, **options) -> tree of arrays`` of the
            first ``count`` rows; those behind them only fill the devices. What it draws for a row
            must not depend on how many there are, which holds for ``jax.random``'s bits.
        mesh: Devices that share the rows; None computes where the parameters are.
        static: Names of the options that it is compiled anew for.

    Returns:
        ``run(params, key, rows, **options)``, where ``rows`` is a tree of arrays of one length.
        Parameters are taken as they lie, whole or sharded.

    >>> def double(params, key, rows, *, count):
    ...     return params * rows[:count]
    >>> from cdcd_jax.distributed.mesh import make_mesh
    >>> run = shard_batch(double, make_mesh())
    >>> run(np.float32(2.0), jax.random.key(0), np.arange(3.0)).tolist()
    [0.0, 2.0, 4.0]
    """
    names = ("count", *static)
    if mesh is None:
        return ShardedRows(jax.jit(function, static_argnames=names), None)

    def on_mesh(params: Any, key: Any, rows: Any, **options: Any) -> Any:
        # Networks look for this mesh where they say how activations are split.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(params, key, rows, **options)

    compiled = jax.jit(on_mesh, static_argnames=names, out_shardings=replicated(mesh))
    return ShardedRows(compiled, mesh)


@dataclass(frozen=True)
class ShardedRows:
    """A compiled function of rows that devices share, see `shard_batch`.

    Attributes:
        compiled: ``compiled(params, key, rows, count=..., **options)``, of rows that are filled up.
        mesh: The devices; None for where the parameters are.
    """

    compiled: Any
    mesh: Mesh | None

    def __call__(self, params: Any, key: Any, rows: Any, **options: Any) -> Any:
        """Compute on all devices."""
        count = _count(rows)
        if self.mesh is not None:
            advance(f"in a computation of {count} rows")
            if self._filled(count) > count:
                filled = np.arange(self._filled(count)) % count
                rows = jax.tree.map(lambda array: array[filled], rows)
            rows = place_arrays(rows, split_batch(self.mesh))
        return self.compiled(params, key, rows, count=count, **options)

    def lower(self, params: Any, key: Any, rows: Any, **options: Any) -> jax.stages.Lowered:
        """Lower what a call compiles, of shapes in place of arrays: nothing is computed."""
        count = _count(rows)
        if self.mesh is not None:
            filled, sharding = self._filled(count), split_batch(self.mesh)
            rows = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((filled, *x.shape[1:]), x.dtype, sharding=sharding),
                rows,
            )
        return self.compiled.lower(params, key, rows, count=count, **options)

    def _filled(self, count: int) -> int:
        return count if self.mesh is None else round_up(count, num_batch_shards(self.mesh))


def place_arrays(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Put arrays that every host has on the devices.

    Each host puts its own parts on its devices; nothing is sent or compared.

    Args:
        tree: Arrays of this host, the same on all.
        sharding: Where each part of them goes, such as ``replicated(mesh)``.

    Returns:
        The arrays on their devices.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(array: Any) -> jax.Array:
        own = np.asarray(array)
        return jax.make_array_from_callback(own.shape, sharding, lambda index: own[index])

    return jax.tree.map(put, tree)


def fetch_whole(tree: Any) -> Any:
    """Fetch arrays that all hosts hold together, each host all of them; all must call it.

    Args:
        tree: Arrays on all devices, whole or sharded.

    Returns:
        NumPy arrays.
    """
    if jax.process_count() == 1:
        return jax.device_get(tree)
    with meeting("fetching arrays of all hosts"):
        return multihost_utils.process_allgather(tree, tiled=True)


def _count(rows: Any) -> int:
    return jax.tree.leaves(rows)[0].shape[0]
