"""The layers of a VQGAN: residual block, attention, resizing and initialisation."""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.nn import Conv, GroupNorm
from cdcd_jax.typing import Params, PRNGKey

Maps = Float[Array, "batch height width features"]


def draw_weights(key: PRNGKey, shapes: Params) -> Params:
    """Draw the weights of a network at the start of its training.

    Kernels and biases of convolutions are from U(-b, b), b = 1 / sqrt(size^2 in_features), as
    PyTorch has it by default and the published codecs therefore had; norms are the identity. All
    numbers come from one draw: one for each array would take XLA half a minute to compile.

    Args:
        key: Random key.
        shapes: Nested dict of anything with a shape.

    Returns:
        The same dict with float32 arrays.

    >>> shapes = {"conv": {"kernel": jnp.zeros((1, 1, 4, 2)), "bias": jnp.zeros(2)}}
    >>> bool(jnp.all(jnp.abs(draw_weights(jax.random.key(0), shapes)["conv"]["kernel"]) < 0.5))
    True
    """
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)]
    drawn = jax.random.uniform(key, (sum(sizes),), minval=-1)
    ends = itertools.accumulate(sizes)
    parts = [drawn[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    numbers = jax.tree.map(
        lambda part, leaf: part.reshape(leaf.shape),
        jax.tree.unflatten(jax.tree.structure(shapes), parts),
        shapes,
    )

    def scale(layer: dict) -> dict:  # the layers of a list have numbers for names
        if "kernel" in layer:
            bound = 1 / math.sqrt(math.prod(layer["kernel"].shape[:-1]))
            return {name: bound * array for name, array in layer.items()}
        if "scale" in layer:
            return {name: jnp.full_like(x, name == "scale") for name, x in layer.items()}
        return {name: scale(inner) for name, inner in layer.items()}

    return scale(numbers)


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions with norms and swish, added to the input."""

    def __init__(self, fan_in: int, fan_out: int, groups: int):
        self.norm1 = GroupNorm(fan_in, groups)
        self.conv1 = Conv(fan_in, fan_out, (3, 3))
        self.norm2 = GroupNorm(fan_out, groups)
        self.conv2 = Conv(fan_out, fan_out, (3, 3))
        self.shortcut = None if fan_in == fan_out else Conv(fan_in, fan_out, (1, 1))

    def __call__(self, x: Maps) -> Array:
        """Return maps with the block's number of features."""
        h = self.conv1(jax.nn.swish(self.norm1(x)))
        h = self.conv2(jax.nn.swish(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Self-attention over all positions, with one head."""

    def __init__(self, features: int, groups: int):
        self.norm = GroupNorm(features, groups)
        self.query = Conv(features, features, (1, 1))
        self.key = Conv(features, features, (1, 1))
        self.value = Conv(features, features, (1, 1))
        self.out = Conv(features, features, (1, 1))

    def __call__(self, x: Maps) -> Array:
        """Return maps of the same shape."""
        batch, height, width, features = x.shape
        normed = self.norm(x)
        query, key, value = (
            project(normed).reshape(batch, height * width, 1, features)
            for project in (self.query, self.key, self.value)
        )  # [batch positions heads features]
        attended = jax.nn.dot_product_attention(query, key, value)
        return x + self.out(attended.reshape(x.shape))


class Downsample(nnx.Module):
    """A 3x3 convolution of stride 2 that halves both sides, padded below and on the right only."""

    def __init__(self, features: int):
        self.conv = Conv(features, features, (3, 3), stride=2, padding=((0, 1), (0, 1)))

    def __call__(self, x: Maps) -> Array:
        """Return maps of half the size."""
        return self.conv(x)


class Upsample(nnx.Module):
    """Both sides doubled by repetition, then a 3x3 convolution."""

    def __init__(self, features: int):
        self.conv = Conv(features, features, (3, 3))

    def __call__(self, x: Maps) -> Array:
        """Return maps of twice the size."""
        return self.conv(x.repeat(2, axis=1).repeat(2, axis=2))
