"""The layers of the package, once: dense, convolution, norms and attention.

Functions take their weights as arrays, so that a nested dict of parameters serves as well as a
module: ``dense(x, **params["out"])``. Modules are for networks that are built with Flax NNX.
"""

import math
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cdcd_jax.typing import Params, PRNGKey, wide_dtype

INIT_STD = 0.02
NORM_EPSILON = 1e-5

Weights: TypeAlias = Float[Array, "..."] | Float[np.ndarray, "..."]
"""Loaded weights may be NumPy's, which a compiled function takes as constants."""

Padding: TypeAlias = Literal["SAME", "VALID"] | tuple[tuple[int, int], ...]


@jax.custom_vjp
def add_bias(x: Float[Array, "*lead out"], bias: Float[Array, " out"]) -> Array:
    """Add a vector to each of many, in their dtype; its gradient is summed in float32 or better.

    A sum over all positions of a batch in bfloat16, whose steps are 1/256, would soon stop
    changing.
    """
    return x + bias.astype(x.dtype).reshape(*(1 for _ in x.shape[1:]), -1)


def _add_bias_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    return add_bias(x, bias), bias


def _add_bias_backward(bias: Array, gradient: Array) -> tuple[Array, Array]:
    summed = gradient.astype(wide_dtype(gradient.dtype)).sum(range(gradient.ndim - 1))
    return gradient, summed.astype(bias.dtype)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def dense(
    x: Float[Array, "*lead in"],
    kernel: Weights,
    bias: Weights,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*lead out"]:
    """Return ``x @ kernel + bias`` along the last axis; a kernel is [in out], a bias [out].

    Products are in the dtype of ``x``, their sums and the result in ``dtype``, by default the same.
    Leading axes are flattened first: on CPU the weight gradient of a product with two leading axes
    is up to three times slower than that of the same product with one.

    >>> dense(jnp.array([[3.0], [4.0]]), jnp.array([[2.0]]), jnp.array([1.0])).tolist()
    [[7.0], [9.0]]
    """
    x, bias = jnp.asarray(x), jnp.asarray(bias)
    flat = x.reshape(-1, x.shape[-1])  # [lead in]
    product = jnp.matmul(
        flat, jnp.asarray(kernel).astype(x.dtype), preferred_element_type=dtype or x.dtype
    )
    return add_bias(product, bias).reshape(*x.shape[:-1], -1)


def convolve(
    x: Float[Array, "batch *sides in"],
    kernel: Weights,
    bias: Weights,
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    dilation: int = 1,
) -> Float[Array, "batch *places out"]:
    """Convolve a sequence [batch length in] or maps [batch height width in], in the dtype of x.

    A kernel is [size in out] or [rows columns in out], a bias [out].

    A kernel of one place on a sequence is a product: on CPU its gradient took 8 ms where that of
    the convolution took 12.

    >>> sequence = jnp.arange(4.0).reshape(1, 4, 1)
    >>> convolve(sequence, jnp.ones((3, 1, 1)), jnp.zeros(1)).ravel().tolist()
    [1.0, 3.0, 6.0, 5.0]
    """
    kernel, bias, sides = jnp.asarray(kernel), jnp.asarray(bias), x.ndim - 2
    if kernel.shape[:-2] == (1,) and stride == 1:
        return dense(x, kernel[0], bias)
    convolved = jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(stride,) * sides,
        padding=padding,
        rhs_dilation=(dilation,) * sides,
        dimension_numbers=("NWC", "WIO", "NWC") if sides == 1 else ("NHWC", "HWIO", "NHWC"),
    )
    return add_bias(convolved, bias)


def normalise(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Shift and scale ``x`` to mean 0 and variance 1 along one axis, in float32 or better.

    >>> normalise(jnp.array([[1.0, 3.0]]), axis=-1).round(3).tolist()
    [[-1.0, 1.0]]
    """
    x = x.astype(wide_dtype(x.dtype))
    centred = x - x.mean(axis, keepdims=True)
    variance = jnp.square(centred).mean(axis, keepdims=True)
    return centred * jax.lax.rsqrt(variance + NORM_EPSILON)


def layer_norm(
    x: Float[Array, "batch length width"],
    scale: Weights,
    bias: Weights,
) -> Float[Array, "batch length width"]:
    """Normalise the features of each position (Ba et al. 2016), with statistics in float32."""
    scale, bias = jnp.asarray(scale), jnp.asarray(bias)
    y = normalise(x, axis=-1) * scale[None, None] + bias[None, None]
    return y.astype(x.dtype)


def attend(
    query: Float[Array, "batch length heads depth"],
    key: Float[Array, "batch source heads depth"],
    value: Float[Array, "batch source heads depth"],
    bias: Float[Array, "#batch #heads length source"] | None = None,
) -> Float[Array, "batch length width"]:
    """Return softmax(query . key + bias) . value, the heads side by side; the query is scaled.

    Scores, their exponentials and sums are in float32 or better.

    Note:
        The order of operations and of axes is for XLA on CPU, where it makes a forward pass of 8
        heads x 16 over 256 positions three times faster than ``jax.nn.dot_product_attention``,
        and costs nothing elsewhere: keys and values have positions last, so that no product of
        the backward pass transposes a [length source] matrix, and the values are summed before
        the division by the softmax's denominator, which is then one of [length depth]. Batch and
        heads stay two axes, as a mesh may split both.
    """
    wide = wide_dtype(query.dtype)
    query = query.transpose(0, 2, 1, 3)  # [batch heads length depth]
    key, value = (
        key.transpose(0, 2, 3, 1),
        value.transpose(0, 2, 3, 1),
    )  # [batch heads depth source]
    scores = jnp.einsum("bhld,bhds->bhls", query, key, preferred_element_type=wide)
    if bias is not None:
        scores = scores + bias.astype(wide)
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    summed = jnp.einsum(
        "bhls,bhds->bhld", weights.astype(value.dtype), value, preferred_element_type=wide
    )
    mixed = (summed / weights.sum(-1, keepdims=True)).astype(query.dtype)
    return mixed.swapaxes(1, 2).reshape(query.shape[0], query.shape[2], -1)


def gelu2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x * sigmoid(1.702 x), an approximation of GELU.

    >>> float(gelu2(jnp.array(0.0)))
    0.0
    """
    return x * jax.nn.sigmoid(1.702 * x)


def init_dense(
    key: PRNGKey, in_features: int, out_features: int, *, std: float | None = None
) -> Params:
    """Draw the weights of ``dense`` from N(0, std^2), by default 1 / in_features; no bias."""
    std = 1 / math.sqrt(in_features) if std is None else std
    kernel = std * jax.random.normal(key, (in_features, out_features))
    return {"kernel": kernel, "bias": jnp.zeros(out_features)}


class Dense(nnx.Module):
    """A dense layer, whose weights start from N(0, std^2)."""

    def __init__(
        self, in_features: int, out_features: int, *, std: float = INIT_STD, rngs: nnx.Rngs
    ):
        params = init_dense(rngs.params(), in_features, out_features, std=std)
        self.kernel, self.bias = nnx.Param(params["kernel"]), nnx.Param(params["bias"])

    def __call__(self, x: Float[Array, "*lead in"], dtype: DTypeLike | None = None) -> Array:
        """Return [*lead out], see ``dense``."""
        return dense(x, self.kernel[...], self.bias[...], dtype)


class Conv(nnx.Module):
    """A convolution; its weights are 0 until they are drawn or loaded, unless ``rngs`` are given.

    Args:
        in_features: Features of the input.
        out_features: Features of the output.
        size: Sides of the kernel, one for sequences and two for maps.
        stride: Step between outputs.
        padding: As of ``convolve``.
        dilation: Step between the inputs of an output.
        init: ``"torch"`` draws kernel and bias from U(-b, b), b = 1 / sqrt(inputs of an output),
            PyTorch's default; a number draws the kernel from N(0, init^2).
        rngs: Random numbers of the weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        size: tuple[int, ...],
        *,
        stride: int = 1,
        padding: Padding = "SAME",
        dilation: int = 1,
        init: float | Literal["torch"] = 0.0,
        rngs: nnx.Rngs | None = None,
    ):
        self.stride, self.dilation = stride, dilation
        self.padding: Padding = padding
        shape = (*size, in_features, out_features)
        kernel, bias = jnp.zeros(shape), jnp.zeros(out_features)
        if rngs is not None and init == "torch":
            bound = 1 / math.sqrt(math.prod(shape[:-1]))
            kernel = jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
            bias = jax.random.uniform(rngs.params(), bias.shape, minval=-bound, maxval=bound)
        elif rngs is not None:
            kernel = init * jax.random.normal(rngs.params(), shape)
        self.kernel, self.bias = nnx.Param(kernel), nnx.Param(bias)

    def __call__(self, x: Float[Array, "batch *sides in"]) -> Array:
        """Return [batch *places out], see ``convolve``."""
        return convolve(
            x,
            self.kernel[...],
            self.bias[...],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


class LayerNorm(nnx.Module):
    """A layer norm that starts as the identity after normalising."""

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: Float[Array, "batch length width"]) -> Array:
        """Return the same shape and dtype, see ``layer_norm``."""
        return layer_norm(x, self.scale[...], self.bias[...])


class GroupNorm(nnx.Module):
    """A norm of groups of features over a whole map (Wu & He 2018), with statistics in float32.

    Args:
        features: Features of the maps.
        groups: Number of groups; as many as divide the features where it does not.
        epsilon: Added to the variance.
    """

    def __init__(self, features: int, groups: int, *, epsilon: float = 1e-6):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.groups, self.epsilon = math.gcd(groups, features), epsilon

    def __call__(self, x: Float[Array, "batch height width features"]) -> Array:
        """Return maps in the dtype of ``x``."""
        # Sums over positions first, feature by feature: reducing over groups at once makes the
        # gradient ten times slower on CPU.
        flat = x.astype(jnp.float32).reshape(len(x), -1, x.shape[3])  # [batch positions features]
        centred = flat - self._group_mean(jnp.mean(flat, axis=1))[:, None]
        variance = self._group_mean(jnp.mean(centred**2, axis=1))
        scale = jax.lax.rsqrt(variance + self.epsilon) * self.scale[...][None]
        normed = centred * scale[:, None] + self.bias[...][None, None]
        return normed.reshape(x.shape).astype(x.dtype)

    def _group_mean(self, x: Array) -> Array:
        """Average [batch features] over each group's features; every feature gets its group's."""
        size = x.shape[1] // self.groups
        return jnp.repeat(x.reshape(len(x), self.groups, size).mean(axis=2), size, axis=1)
