"""The small layers a denoiser block is made of: dense, convolution, norms, embeddings."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from cdcd_jax.models.layout import BATCH, constrain
from cdcd_jax.typing import wide_dtype

Activation: TypeAlias = Literal["gelu2", "gelu"]
"""``gelu2`` is x * sigmoid(1.702 x), which every published checkpoint uses; ``gelu`` is exact."""

INIT_STD = 0.02
NORM_EPSILON = 1e-5


@jax.custom_vjp
def add_bias(x: Float[Array, "*lead out"], bias: Float[Array, " out"]) -> Array:
    """Add a vector to each of many, in their dtype; its gradient is summed in float32 or better.

    A sum over all positions of a batch in bfloat16, whose steps are 1/256, would soon stand still.
    """
    return x + bias.astype(x.dtype).reshape(*(1 for _ in x.shape[1:]), -1)


def _add_bias_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    return add_bias(x, bias), bias


def _add_bias_backward(bias: Array, gradient: Array) -> tuple[Array, Array]:
    summed = gradient.astype(wide_dtype(gradient.dtype)).sum(range(gradient.ndim - 1))
    return gradient, summed.astype(bias.dtype)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


class Dense(nnx.Module):
    """Map the last axis by ``x @ kernel + bias``, with weights drawn from N(0, 0.02).

    Leading axes are flattened first: on CPU the weight gradient of a product with two leading axes
    is up to three times slower than that of the same product with one.
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        shape = (in_features, out_features)
        self.kernel = nnx.Param(INIT_STD * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out_features))

    def __call__(
        self, x: Float[Array, "*lead in"], dtype: jnp.dtype | None = None
    ) -> Float[Array, "*lead out"]:
        """Multiply in the dtype of ``x`` and return the sums in ``dtype``, by default the same."""
        dtype = dtype or x.dtype
        flat = x.reshape(-1, x.shape[-1])  # [lead in]
        kernel = self.kernel[...].astype(x.dtype)
        product = jnp.matmul(flat, kernel, preferred_element_type=dtype)
        return add_bias(product, self.bias[...]).reshape(*x.shape[:-1], -1)


class Conv3x3(nnx.Module):
    """Convolve a grid with 3x3 kernels and zero padding.

    Weights and bias are drawn from U(-b, b), b = 1 / sqrt(9 in_features), as PyTorch does by
    default and the published code therefore did.
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        bound = 1 / math.sqrt(9 * in_features)
        shape = (3, 3, in_features, out_features)
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
        )
        self.bias = nnx.Param(
            jax.random.uniform(rngs.params(), (out_features,), minval=-bound, maxval=bound)
        )

    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Return [batch height width out] in the dtype of ``x``."""
        convolved = jax.lax.conv_general_dilated(
            x,
            self.kernel[...].astype(x.dtype),
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return add_bias(convolved, self.bias[...])


class Table(nnx.Module):
    """Look rows up by integer; a row that does not exist comes back as NaN, never as another."""

    def __init__(self, rows: int, features: int, *, rngs: nnx.Rngs):
        self.embedding = nnx.Param(INIT_STD * jax.random.normal(rngs.params(), (rows, features)))

    def __call__(self, index: Int[Array, "*lead"]) -> Float[Array, "*lead features"]:
        """Return the rows in float32."""
        rows = (
            self.whole().at[index].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        )
        return constrain(rows, BATCH, *(None for _ in index.shape))

    def whole(self) -> Float[Array, "rows features"]:
        """Return all rows, on every device: what is looked up then moves no further."""
        return constrain(self.embedding[...], None, None)


def normalise(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Shift and scale ``x`` to mean 0 and variance 1 along one axis, in float32 or better.

    >>> normalise(jnp.array([[1.0, 3.0]]), axis=-1).round(3).tolist()
    [[-1.0, 1.0]]
    """
    x = x.astype(wide_dtype(x.dtype))
    centred = x - x.mean(axis, keepdims=True)
    variance = jnp.square(centred).mean(axis, keepdims=True)
    return centred * jax.lax.rsqrt(variance + NORM_EPSILON)


class LayerNorm(nnx.Module):
    """Normalise the features of each position, then scale and shift by learned vectors."""

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: Float[Array, "batch length width"]) -> Array:
        """Return the same shape and dtype; statistics are in float32."""
        y = normalise(x, axis=-1) * self.scale[...][None, None] + self.bias[...][None, None]
        return y.astype(x.dtype)


def modulate(
    x: Float[Array, "batch length width"], scale_shift: Float[Array, "batch 2*width"], axis: int
) -> Float[Array, "batch length width"]:
    """Apply an adaptive norm: ``normalise(x) * (1 + scale) + shift`` (VQ-Diffusion Eq. 10).

    Args:
        x: Activations.
        scale_shift: One vector per example, the scale and then the shift.
        axis: -1 normalises each position over its features (AdaLayerNorm), 1 normalises each
            feature over the positions of its sequence (the ``instance`` variant).
    """
    y = normalise(x, axis)
    scale, shift = jnp.split(scale_shift.astype(y.dtype)[:, None], 2, axis=-1)  # [batch 1 width]
    return (y * (1 + scale) + shift).astype(x.dtype)


class ScaleShift(nnx.Module):
    """Give the adaptive norm's scale and shift for an integer: a timestep or a class.

    ``Dense(silu(embedding))``, where the embedding is a learned table or, for timesteps, sines and
    cosines. It does not depend on the tokens, so it is computed once however many chains use it.
    """

    def __init__(self, rows: int, width: int, *, sinusoidal: bool = False, rngs: nnx.Rngs):
        self.rows, self.width = rows, width
        self.table = None if sinusoidal else Table(rows, width, rngs=rngs)
        self.dense = Dense(width, 2 * width, rngs=rngs)

    def __call__(self, index: Int[Array, " batch"], dtype: jnp.dtype) -> Array:
        """Return [batch 2*width] for indices 0..rows-1."""
        if self.table is None:
            embedding = sinusoids(index, self.rows, self.width)
        else:
            embedding = self.table(index)
        return constrain(self.dense(jax.nn.silu(embedding.astype(dtype))), BATCH, None)


def sinusoids(index: Int[Array, " batch"], rows: int, width: int) -> Float[Array, "batch width"]:
    """Embed an index as sines, then cosines, of 4000 index / rows at geometric frequencies.

    The frequencies fall from 1 to 1/10000 over half of the features. Float32 always: the angles
    are so large that their rounding shows, and published weights were trained with it.

    >>> sinusoids(jnp.array([0]), rows=10, width=4).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    half = width // 2
    frequency = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-math.log(10_000) / (half - 1)))
    angle = (index.astype(jnp.float32) / rows * 4000)[:, None] * frequency[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def gelu2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x * sigmoid(1.702 x), an approximation of GELU.

    >>> float(gelu2(jnp.array(0.0)))
    0.0
    """
    return x * jax.nn.sigmoid(1.702 * x)


def activation_fn(name: Activation) -> Callable[[Array], Array]:
    """Return the function of that name."""
    return gelu2 if name == "gelu2" else lambda x: jax.nn.gelu(x, approximate=False)
