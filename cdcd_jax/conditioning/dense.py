"""A dense layer of the condition's encoders: drawn, and applied to sequences."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.typing import Params, PRNGKey


def init_dense(key: PRNGKey, in_features: int, out_features: int) -> Params:
    """Draw a kernel that keeps the scale of its inputs, N(0, 1 / in_features); no bias."""
    kernel = jax.random.normal(key, (in_features, out_features)) / math.sqrt(in_features)
    return {"kernel": kernel, "bias": jnp.zeros(out_features)}


def apply_dense(
    layer: Params, x: Float[Array, "batch length features"]
) -> Float[Array, "batch length out"]:
    """Apply a dense layer to every position, in the type of ``x``.

    >>> layer = {"kernel": jnp.array([[2.0]]), "bias": jnp.array([1.0])}
    >>> apply_dense(layer, jnp.array([[[3.0], [4.0]]])).tolist()
    [[[7.0], [9.0]]]
    """
    kernel, bias = (jnp.asarray(layer[name]).astype(x.dtype) for name in ("kernel", "bias"))
    return jnp.einsum("blf,fo->blo", x, kernel) + bias[None, None]
