"""Checksums of arrays."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, UInt32


def checksums(tree: Any) -> UInt32[Array, " leaves"]:
    """Sum each leaf's bytes, weighted by odd numbers that follow from the position, modulo 2**32.

    Args:
        tree: Arrays of at least one leaf, random keys among them.

    Returns:
        A number for each leaf, in the order of ``jax.tree.leaves``, whole on every device: the same
        numbers however the leaves are split.

    Example:
        >>> numbers = jnp.arange(3)
        >>> forth, back = checksums([numbers, numbers[::-1]])
        >>> bool(forth == back)
        False
    """
    shardings = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(tree))
    meshes = [each.mesh for each in shardings if isinstance(each, NamedSharding)]
    whole = NamedSharding(meshes[0], PartitionSpec()) if meshes else None
    return _compiled(whole)(tree)


@functools.cache
def _compiled(whole: NamedSharding | None) -> Any:
    return jax.jit(
        lambda tree: jnp.stack([_checksum(leaf) for leaf in jax.tree.leaves(tree)]),
        out_shardings=whole,
    )


def _checksum(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    octets = jax.lax.bitcast_convert_type(leaf, jnp.uint8).astype(jnp.uint32)
    weight = jnp.ones(octets.shape, jnp.uint32)
    for axis in range(octets.ndim):
        # Odd steps, so that no weight loses the low bits of what it multiplies.
        iota = jax.lax.broadcasted_iota(jnp.uint32, octets.shape, axis)
        weight = weight * (2 * iota + 1)
    return jnp.sum(octets * weight, dtype=jnp.uint32)
