"""Multi-head attention, arranged for the machine it runs on."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.networks.layers import Dense


def attention_weights(
    query: Float[Array, "batch length heads depth"],
    key: Float[Array, "batch source heads depth"],
) -> Float[Array, "batch heads length source"]:
    """Return softmax(query . key / sqrt(depth)) over the source positions, in float32 or better."""
    dtype = jnp.promote_types(query.dtype, jnp.float32)
    query = query * (1 / math.sqrt(query.shape[-1]))
    scores = jnp.einsum("blhd,bshd->bhls", query, key, preferred_element_type=dtype)
    return jax.nn.softmax(scores, axis=-1)


def attend(
    query: Float[Array, "batch length heads depth"],
    key: Float[Array, "batch source heads depth"],
    value: Float[Array, "batch source heads depth"],
) -> Float[Array, "batch length heads depth"]:
    """Return the attention-weighted values."""
    weights = attention_weights(query, key).astype(value.dtype)
    return jnp.einsum("bhls,bshd->blhd", weights, value)


def split_heads(x: Float[Array, "batch length width"], num_heads: int) -> Array:
    """Cut the features into heads: [batch length width] -> [batch length heads depth]."""
    return x.reshape(*x.shape[:-1], num_heads, -1)


class SelfAttention(nnx.Module):
    """Let every position attend to every position of its sequence."""

    def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.query = Dense(width, width, rngs=rngs)
        self.key = Dense(width, width, rngs=rngs)
        self.value = Dense(width, width, rngs=rngs)
        self.out = Dense(width, width, rngs=rngs)

    def __call__(self, x: Float[Array, "batch length width"]) -> Array:
        """Return the same shape."""
        query, key, value = (
            split_heads(dense(x), self.num_heads) for dense in (self.query, self.key, self.value)
        )
        return self.out(attend(query, key, value).reshape(x.shape))


class CrossAttention(nnx.Module):
    """Let every position attend to the condition's features.

    Keys and values are made apart from the call: they depend on the condition only.
    """

    def __init__(self, width: int, num_heads: int, cond_dim: int, *, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.query = Dense(width, width, rngs=rngs)
        self.key = Dense(cond_dim, width, rngs=rngs)
        self.value = Dense(cond_dim, width, rngs=rngs)
        self.out = Dense(width, width, rngs=rngs)

    def source(self, cond: Float[Array, "batch source features"]) -> tuple[Array, Array]:
        """Return keys and values, [batch source width] each."""
        return self.key(cond), self.value(cond)

    def __call__(
        self, x: Float[Array, "batch length width"], source: tuple[Array, Array]
    ) -> Float[Array, "batch length width"]:
        """Return the same shape."""
        query = split_heads(self.query(x), self.num_heads)
        key, value = (split_heads(part, self.num_heads) for part in source)
        return self.out(attend(query, key, value).reshape(x.shape))
