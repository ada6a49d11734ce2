"""Multi-head attention."""

import math
from typing import Literal, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax import nn
from cdcd_jax.models.fused_attention import choose_kernel
from cdcd_jax.models.layout import BATCH, constrain
from cdcd_jax.nn import Dense

Attention: TypeAlias = Literal["auto", "plain"]
"""``auto`` takes the machine's fused kernel where there is one for bfloat16, ``plain`` never."""


def attend(
    query: Float[Array, "batch length width"],
    key: Float[Array, "batch source width"],
    value: Float[Array, "batch source width"],
    num_heads: int,
    bias: Float[Array, "batch heads length source"] | None = None,
) -> Float[Array, "batch length width"]:
    """Return softmax(query . key / sqrt(depth) + bias) . value, head by head, see ``nn.attend``."""
    query = query * math.sqrt(num_heads / query.shape[-1])
    query, key, value = (split_heads(x, num_heads) for x in (query, key, value))
    return nn.attend(query, key, value, bias)


def split_heads(
    x: Float[Array, "batch length width"], num_heads: int
) -> Float[Array, "batch length heads depth"]:
    """Split features into heads, which the tensor axis divides."""
    return constrain(x.reshape(*x.shape[:2], num_heads, -1), BATCH, None, "tensor", None)


class SelfAttention(nnx.Module):
    """Attention of every position to every position of its sequence."""

    def __init__(
        self, width: int, num_heads: int, *, attention: Attention = "auto", rngs: nnx.Rngs
    ):
        self.num_heads = num_heads
        self.attention: Attention = attention
        self.query = Dense(width, width, rngs=rngs)
        self.key = Dense(width, width, rngs=rngs)
        self.value = Dense(width, width, rngs=rngs)
        self.out = Dense(width, width, rngs=rngs)

    def __call__(self, x: Float[Array, "batch length width"]) -> Array:
        """Return the same shape."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        fused = None
        if self.attention != "plain":
            # The machine's kernel, where it has one. Not for cross-attention: under a vmap over
            # chains its keys have no chain axis, which cuDNN's kernel does not take.
            depth = query.shape[-1] // self.num_heads
            fused = choose_kernel(query.shape[1], depth, query.dtype)
        if fused is None:
            return self.out(attend(query, key, value, self.num_heads))
        heads = (split_heads(x, self.num_heads) for x in (query, key, value))
        return self.out(fused(*heads).reshape(query.shape))


class CrossAttention(nnx.Module):
    """Attention of every position to the condition's features.

    Keys and values are made apart from the call: they depend on the condition only.

    With ``timed``, a feature loses weight with its distance in time, at a rate that each head
    learns; the heads start from 1 to 32 per second, in geometric steps.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        cond_dim: int,
        *,
        timed: bool = False,
        rngs: nnx.Rngs,
    ):
        self.num_heads = num_heads
        if timed:
            self.log_rate = nnx.Param(jnp.linspace(0.0, math.log(32.0), num_heads))
        self.query = Dense(width, width, rngs=rngs)
        self.key = Dense(cond_dim, width, rngs=rngs)
        self.value = Dense(cond_dim, width, rngs=rngs)
        self.out = Dense(width, width, rngs=rngs)

    def source(self, cond: Float[Array, "batch source features"]) -> tuple[Array, Array]:
        """Return keys and values, [batch source width] each."""
        key, value = (
            split_heads(layer(cond), self.num_heads).reshape(*cond.shape[:2], -1)
            for layer in (self.key, self.value)
        )
        return key, value

    def __call__(
        self,
        x: Float[Array, "batch length width"],
        key: Float[Array, "batch source width"],
        value: Float[Array, "batch source width"],
        distance: Float[Array, "batch length source"] | None = None,
    ) -> Float[Array, "batch length width"]:
        """Return the same shape; ``distance`` is in seconds, 0 where there is no time."""
        bias = None
        if distance is not None:
            bias = -jnp.exp(self.log_rate[...])[None, :, None, None] * distance[:, None]
        return self.out(attend(self.query(x), key, value, self.num_heads, bias))
