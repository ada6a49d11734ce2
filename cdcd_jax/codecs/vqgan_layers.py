"""The layers a VQGAN is made of: convolution, group norm, residual block, attention, resizing."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

GROUPS = 32
NORM_EPSILON = 1e-6

Maps = Float[Array, "batch height width features"]


class Conv(nnx.Module):
    """Convolve with an odd square kernel and zero padding, as PyTorch does by default.

    Weights and bias are drawn from U(-b, b), b = 1 / sqrt(size^2 in_features).
    """

    def __init__(self, fan_in: int, fan_out: int, size: int, *, rngs: nnx.Rngs):
        bound = 1 / math.sqrt(size * size * fan_in)
        draw = jax.random.uniform
        shape = (size, size, fan_in, fan_out)
        self.kernel = nnx.Param(draw(rngs.params(), shape, minval=-bound, maxval=bound))
        self.bias = nnx.Param(draw(rngs.params(), (fan_out,), minval=-bound, maxval=bound))

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
    """Normalise groups of features over the whole map: 32 groups, or as many as divide.

    Statistics are float32 whatever the dtype of the maps.
    """

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.groups = math.gcd(GROUPS, features)

    def __call__(self, x: Maps) -> Array:
        """Return maps in the dtype of ``x``."""
        grouped = x.astype(jnp.float32).reshape(len(x), -1, self.groups, x.shape[3] // self.groups)
        mean = jnp.mean(grouped, axis=(1, 3), keepdims=True)
        variance = jnp.var(grouped, axis=(1, 3), keepdims=True)
        normed = (grouped - mean) * jax.lax.rsqrt(variance + NORM_EPSILON)
        normed = normed.reshape(x.shape) * self.scale[...][None, None, None]
        return (normed + self.bias[...][None, None, None]).astype(x.dtype)


class ResidualBlock(nnx.Module):
    """Add two normed, swished 3x3 convolutions to the input."""

    def __init__(self, fan_in: int, fan_out: int, *, rngs: nnx.Rngs):
        self.norm1 = GroupNorm(fan_in)
        self.conv1 = Conv(fan_in, fan_out, 3, rngs=rngs)
        self.norm2 = GroupNorm(fan_out)
        self.conv2 = Conv(fan_out, fan_out, 3, rngs=rngs)
        self.shortcut = None if fan_in == fan_out else Conv(fan_in, fan_out, 1, rngs=rngs)

    def __call__(self, x: Maps) -> Array:
        """Return maps with the block's number of features."""
        h = self.conv1(jax.nn.swish(self.norm1(x)))
        h = self.conv2(jax.nn.swish(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Let every position attend to every other, with one head."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(features)
        self.query = Conv(features, features, 1, rngs=rngs)
        self.key = Conv(features, features, 1, rngs=rngs)
        self.value = Conv(features, features, 1, rngs=rngs)
        self.out = Conv(features, features, 1, rngs=rngs)

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

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = Conv(features, features, 3, rngs=rngs)

    def __call__(self, x: Maps) -> Array:
        """Return maps of half the size."""
        return self.conv(x, stride=2, padding=((0, 1), (0, 1)))


class Upsample(nnx.Module):
    """Double height and width by repetition, then convolve 3x3."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = Conv(features, features, 3, rngs=rngs)

    def __call__(self, x: Maps) -> Array:
        """Return maps of twice the size."""
        return self.conv(x.repeat(2, axis=1).repeat(2, axis=2))
