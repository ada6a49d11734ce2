"""Computation of rows split over all devices of all hosts."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from cdcd_jax.distributed.host_progress import advance, meeting
from cdcd_jax.distributed.mesh import num_batch_shards, replicated, split_batch


def shard_batch(
    function: Callable[..., Any], mesh: Mesh | None, *, static: Sequence[str] = ()
) -> Callable[..., Any]:
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
        compiled = jax.jit(function, static_argnames=names)
        return lambda params, key, rows, **options: compiled(
            params, key, rows, count=_count(rows), **options
        )

    def on_mesh(params: Any, key: Any, rows: Any, **options: Any) -> Any:
        # Networks look for this mesh where they say how activations are split.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(params, key, rows, **options)

    compiled = jax.jit(on_mesh, static_argnames=names, out_shardings=replicated(mesh))

    def run(params: Any, key: Any, rows: Any, **options: Any) -> Any:
        advance(f"in a computation of {_count(rows)} rows")
        return compiled(params, key, place_rows(rows, mesh), count=_count(rows), **options)

    return run


def place_rows(rows: Any, mesh: Mesh) -> Any:
    """Split rows over a mesh, of which every host has all.

    Args:
        rows: A tree of arrays of one length, the same on all hosts.
        mesh: From ``make_mesh``.

    Returns:
        The rows, and some of them again where they do not divide evenly.
    """
    shards, sharding = num_batch_shards(mesh), split_batch(mesh)
    size = -(-_count(rows) // shards) * shards

    def fill(array: Any) -> Any:
        return array if len(array) == size else array[np.arange(size) % len(array)]

    return _place(jax.tree.map(fill, rows), sharding)


def place_whole(tree: Any, mesh: Mesh) -> Any:
    """Place arrays that every host has on all devices.

    Args:
        tree: Arrays of this host, the same on all.
        mesh: From ``make_mesh``.

    Returns:
        The same arrays, whole on each device.
    """
    return _place(tree, replicated(mesh))


def place_split(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """Place an array that every host has on the devices of a sharding.

    Args:
        array: The same on all hosts.
        sharding: Where each part of it goes.

    Returns:
        The array on its devices.
    """
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


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


def _place(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(array: Any) -> jax.Array:
        # Each host puts its own part on its devices; nothing is sent or compared.
        own = np.asarray(array)
        return jax.make_array_from_callback(own.shape, sharding, lambda index: own[index])

    return jax.tree.map(place, tree)


def _count(rows: Any) -> int:
    return len(jax.tree.leaves(rows)[0])
