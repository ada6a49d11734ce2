"""Multi-head attention, arranged for the machine it runs on."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.networks.layers import Dense


def attend(
    query: Float[Array, "batch length width"],
    key: Float[Array, "batch source width"],
    value: Float[Array, "batch source width"],
    num_heads: int,
    bias: Float[Array, "batch heads length source"] | None = None,
) -> Float[Array, "batch length width"]:
    """Return softmax(query . key / sqrt(depth) + bias) . value, head by head.

    Scores, their exponentials and sums are in float32 or better.

    Note:
        The order of operations and of axes is for XLA on CPU, where it makes a forward pass of 8
        heads x 16 over 256 positions three times faster than ``jax.nn.dot_product_attention``,
        and costs nothing elsewhere: keys and values have positions last, so that no product of
        the backward pass transposes a [length source] matrix, and the values are summed before
        the division by the softmax's denominator, which is then one of [length depth].
    """
    batch, length, width = query.shape
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scale = math.sqrt(num_heads / width)

    def heads_first(x: Array, axes: tuple[int, ...]) -> Array:
        split = x.reshape(*x.shape[:2], num_heads, -1).transpose(axes)
        return split.reshape(-1, *split.shape[2:])

    query = heads_first(query * scale, (0, 2, 1, 3))  # [batch*heads length depth]
    key = heads_first(key, (0, 2, 3, 1))  # [batch*heads depth source]
    value = heads_first(value, (0, 2, 3, 1))
    scores = jnp.einsum("nld,nds->nls", query, key, preferred_element_type=wide)
    if bias is not None:
        scores = scores + bias.reshape(scores.shape).astype(wide)
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    summed = jnp.einsum(
        "nls,nds->nld", weights.astype(value.dtype), value, preferred_element_type=wide
    )
    mixed = (summed / weights.sum(-1, keepdims=True)).astype(query.dtype)
    return mixed.reshape(batch, num_heads, length, -1).swapaxes(1, 2).reshape(batch, length, width)


def attend_to_self(
    query: Float[Array, "batch length width"],
    key: Float[Array, "batch length width"],
    value: Float[Array, "batch length width"],
    num_heads: int,
) -> Float[Array, "batch length width"]:
    """Return what :func:`attend` does, by cuDNN's fused kernel where the machine has it.

    Not for cross-attention: under a vmap over chains its keys have no chain axis, which the fused
    kernel does not take.
    """
    shape, depth = query.shape, query.shape[-1] // num_heads
    if jax.default_backend() != "gpu" or query.dtype != jnp.bfloat16 or depth % 8:
        return attend(query, key, value, num_heads)
    query, key, value = (x.reshape(*shape[:2], num_heads, depth) for x in (query, key, value))
    return jax.nn.dot_product_attention(query, key, value, implementation="cudnn").reshape(shape)


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
        mixed = attend_to_self(self.query(x), self.key(x), self.value(x), self.num_heads)
        return self.out(mixed)


class CrossAttention(nnx.Module):
    """Let every position attend to the condition's features.

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
        return self.key(cond), self.value(cond)

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
