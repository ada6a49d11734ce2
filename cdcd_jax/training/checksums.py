"""A number for each array that changes when its bytes, or their order, do."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32


@jax.jit
def checksums(tree: Any) -> UInt32[Array, " leaves"]:
    """Sum each leaf's bytes, weighted by odd numbers that follow from the position, modulo 2**32.

    Args:
        tree: Arrays of at least one leaf, random keys among them.

    Returns:
        A number for each leaf, in the order of ``jax.tree.leaves``.

    Example:
        >>> numbers = jnp.arange(3)
        >>> forth, back = checksums([numbers, numbers[::-1]])
        >>> bool(forth == back)
        False
    """
    return jnp.stack([_checksum(leaf) for leaf in jax.tree.leaves(tree)])


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
