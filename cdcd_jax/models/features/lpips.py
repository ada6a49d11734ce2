"""LPIPS (Zhang et al. 2018), version 0.1 on VGG16."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.models.features.layers import ConvRelu, Images, make_frozen, max_pool
from cdcd_jax.typing import Params, PRNGKey

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Features and number of convolutions of VGG16's stages; all but the first halve the image."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""From -1..1 to what VGG16 was trained on: ImageNet's mean and deviation, as LPIPS rounds them."""

EPSILON = 1e-10


class PerceptualDistance(NamedTuple):
    """LPIPS as pure functions of its parameters.

    Attributes:
        init: ``init(key) -> params``, random; its shapes are the layout that converted weights must
            have.
        apply: ``apply(params, first, second) -> [batch]`` distances >= 0 of images [batch height
            width 3] RGB, values -1..1, at least 16 pixels a side; differentiable in both.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array, Array], Array]


def make_lpips(*, compute_dtype: str = "float32") -> PerceptualDistance:
    """Build the learned perceptual distance on VGG16.

    d = sum over stages l of mean over positions of w_l . (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2,
    where f_l are the features at the end of a stage and w_l >= 0 was learned (LPIPS Eq. 1).

    Args:
        compute_dtype: Of the convolutions, ``float32`` or ``bfloat16``; the rest is float32.

    Returns:
        The distance.

    Note:
        The features are divided by their length plus 1e-10, as in the published code; the gradient
        of the length is taken as 0 where all features are, where the published code gives NaN.

    >>> lpips = make_lpips()
    >>> params = jax.eval_shape(lpips.init, jax.random.key(0))
    >>> images = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
    >>> jax.eval_shape(lpips.apply, params, images, images).shape
    (2,)
    """
    dtype = jnp.dtype(compute_dtype)
    network = make_frozen(lambda rngs: _Lpips(dtype, rngs=rngs))

    def apply(params: Params, first: Images, second: Images) -> Float[Array, " batch"]:
        if first.shape != second.shape or min(first.shape[1:3]) < 16:
            raise ValueError(
                f"LPIPS compares images of one shape and at least 16 pixels a side, got "
                f"{first.shape} and {second.shape}"
            )
        return network.apply(params, jnp.concatenate([first, second]))

    return PerceptualDistance(network.init, apply)


class _Lpips(nnx.Module):
    def __init__(self, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.dtype = dtype
        width, stages = 3, []
        for features, count in STAGES:
            widths = [width, *[features] * count]
            stages.append(
                nnx.List([ConvRelu(a, b, (3, 3), rngs=rngs) for a, b in pairwise(widths)])
            )
            width = features
        self.stages = nnx.List(stages)
        self.weights = nnx.List(
            [
                nnx.Param(jax.random.uniform(rngs.params(), (features,)) / features)
                for features, _ in STAGES
            ]
        )

    def __call__(self, pairs: Float[Array, "images height width 3"]) -> Float[Array, " batch"]:
        shift, scale = (jnp.array(values)[None, None, None] for values in (SHIFT, SCALE))
        x = ((pairs.astype(jnp.float32) - shift) / scale).astype(self.dtype)
        total = jnp.zeros(len(pairs) // 2)
        for stage, weights in zip(self.stages, self.weights, strict=True):
            x = x if stage is self.stages[0] else max_pool(x, 2, stride=2)
            for conv in stage:
                x = conv(x)
            first, second = jnp.split(_unit(x.astype(jnp.float32)), 2)
            difference = jnp.square(first - second).mean(axis=(1, 2))  # [batch features]
            total += difference @ weights[...]
        return total


def _unit(x: Array) -> Array:
    """Divide the features of each position by their length."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    # The root has no slope at 0; there the features themselves are 0 and so is the result.
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
    return x / (length + EPSILON)
