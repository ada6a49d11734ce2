"""The layers of a denoiser block besides those of nn.py: adaptive norms and embeddings."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from cdcd_jax.models.layout import BATCH, constrain
from cdcd_jax.nn import INIT_STD, Dense, gelu2, normalise

Activation: TypeAlias = Literal["gelu2", "gelu"]
"""``gelu2`` is x * sigmoid(1.702 x), which every published checkpoint uses; ``gelu`` is exact."""


class Table(nnx.Module):
    """A lookup of rows by integer; a row that does not exist is NaN, never another row."""

    def __init__(self, rows: int, features: int, *, rngs: nnx.Rngs):
        self.embedding = nnx.Param(INIT_STD * jax.random.normal(rngs.params(), (rows, features)))

    def __call__(self, index: Int[Array, "*lead"]) -> Float[Array, "*lead features"]:
        """Return the rows in float32."""
        # All rows are on every device: what is looked up then moves no further.
        whole = constrain(self.embedding[...], None, None)
        rows = whole.at[index].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        return constrain(rows, BATCH, *(None for _ in index.shape))


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
    """Scale and shift of the adaptive norm for an integer: a timestep or a class.

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


ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "gelu2": gelu2,
    "gelu": partial(jax.nn.gelu, approximate=False),
}
"""The function of each name."""
