"""The layers a VQGAN is made of: convolution, group norm, residual block, attention, resizing."""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.typing import Params, PRNGKey

NORM_EPSILON = 1e-6

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


class Conv(nnx.Module):
    """Convolve with an odd square kernel and zero padding; ``draw_weights`` fills it."""

    def __init__(self, fan_in: int, fan_out: int, size: int):
        self.kernel = nnx.Param(jnp.zeros((size, size, fan_in, fan_out)))
        self.bias = nnx.Param(jnp.zeros(fan_out))

    def __call__(self, x: Maps, *, stride: int = 1, padding: str | tuple = "SAME") -> Array:
        """Return maps in the dtype of ``x``."""
        convolved = jax.lax.conv_general_dilated(
            x,
            self.kernel[...].astype(x.dtype),
            window_strides=(stride, stride),
            padding=padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return convolved + self.bias[...].astype(x.dtype)[None, None, None]


class GroupNorm(nnx.Module):
    """Normalise groups of features over the whole map: so many groups, or as many as divide.

    Statistics are float32 whatever the dtype of the maps.
    """

    def __init__(self, features: int, groups: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.groups = math.gcd(groups, features)

    def __call__(self, x: Maps) -> Array:
        """Return maps in the dtype of ``x``."""
        # Sums over positions first, feature by feature: reducing over groups at once makes the
        # gradient ten times slower on CPU.
        flat = x.astype(jnp.float32).reshape(len(x), -1, x.shape[3])  # [batch positions features]
        centred = flat - self._group_mean(jnp.mean(flat, axis=1))[:, None]
        variance = self._group_mean(jnp.mean(centred**2, axis=1))
        scale = jax.lax.rsqrt(variance + NORM_EPSILON) * self.scale[...][None]
        normed = centred * scale[:, None] + self.bias[...][None, None]
        return normed.reshape(x.shape).astype(x.dtype)

    def _group_mean(self, x: Array) -> Array:
        """Average [batch features] over each group's features; every feature gets its group's."""
        size = x.shape[1] // self.groups
        return jnp.repeat(x.reshape(len(x), self.groups, size).mean(axis=2), size, axis=1)


class ResidualBlock(nnx.Module):
    """Add two normed, swished 3x3 convolutions to the input."""

    def __init__(self, fan_in: int, fan_out: int, groups: int):
        self.norm1 = GroupNorm(fan_in, groups)
        self.conv1 = Conv(fan_in, fan_out, 3)
        self.norm2 = GroupNorm(fan_out, groups)
        self.conv2 = Conv(fan_out, fan_out, 3)
        self.shortcut = None if fan_in == fan_out else Conv(fan_in, fan_out, 1)

    def __call__(self, x: Maps) -> Array:
        """Return maps with the block's number of features."""
        h = self.conv1(jax.nn.swish(self.norm1(x)))
        h = self.conv2(jax.nn.swish(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Let every position attend to every other, with one head."""

    def __init__(self, features: int, groups: int):
        self.norm = GroupNorm(features, groups)
        self.query = Conv(features, features, 1)
        self.key = Conv(features, features, 1)
        self.value = Conv(features, features, 1)
        self.out = Conv(features, features, 1)

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
    """Halve height and width: a 3x3 convolution of stride 2, padded below and on the right only."""

    def __init__(self, features: int):
        self.conv = Conv(features, features, 3)

    def __call__(self, x: Maps) -> Array:
        """Return maps of half the size."""
        return self.conv(x, stride=2, padding=((0, 1), (0, 1)))


class Upsample(nnx.Module):
    """Double height and width by repetition, then convolve 3x3."""

    def __init__(self, features: int):
        self.conv = Conv(features, features, 3)

    def __call__(self, x: Maps) -> Array:
        """Return maps of twice the size."""
        return self.conv(x.repeat(2, axis=1).repeat(2, axis=2))
