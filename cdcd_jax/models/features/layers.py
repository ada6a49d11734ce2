"""The layers of the frozen networks: a convolution with its norm folded in, pools, a crop."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.nn import Conv
from cdcd_jax.typing import Params, PRNGKey

Images = Float[Array, "batch height width 3"]


class FrozenNetwork(NamedTuple):
    """A pretrained network as pure functions of its parameters.

    Attributes:
        init: ``init(key) -> params``, random; its shapes are the layout that converted weights must
            have.
        apply: ``apply(params, images) -> outputs``; jit it.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array], Any]


def make_frozen(build: Callable[[nnx.Rngs], nnx.Module]) -> FrozenNetwork:
    """Turn a module into pure functions.

    Args:
        build: Makes the module from its random numbers.

    Returns:
        The functions; ``apply`` calls the module.
    """
    structure, _ = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(params=jax.random.key(0)))))

    def init(key: PRNGKey) -> Params:
        return nnx.to_pure_dict(nnx.split(build(nnx.Rngs(params=key)))[1])

    def apply(params: Params, images: Array) -> Any:
        return nnx.merge(structure, params)(images)

    return FrozenNetwork(init, apply)


class ConvRelu(Conv):
    """A convolution that cuts off below zero.

    A batch norm with frozen statistics is a scale and a shift for each feature, so it is part of
    the kernel and the bias.

    Args:
        in_features: Features of the input.
        out_features: Features of the output.
        size: Height and width of the kernel.
        stride: Step between outputs.
        pad: Whether to pad by half the kernel with zeros, as PyTorch's networks do.
        relu: Whether to cut off below zero.
        rngs: Random numbers of the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        size: tuple[int, int],
        *,
        stride: int = 1,
        pad: bool = True,
        relu: bool = True,
        rngs: nnx.Rngs,
    ):
        self.relu = relu
        super().__init__(
            in_features,
            out_features,
            size,
            stride=stride,
            padding=tuple((side // 2, side // 2) if pad else (0, 0) for side in size),
            init=math.sqrt(2 / (math.prod(size) * in_features)),
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Return [batch rows columns out] in the dtype of ``x``."""
        convolved = super().__call__(x)
        return jax.nn.relu(convolved) if self.relu else convolved


def max_pool(
    x: Float[Array, "batch height width features"], size: int, *, stride: int, pad: int = 0
) -> Float[Array, "batch rows columns features"]:
    """Max pooling; padding never wins.

    >>> max_pool(-jnp.ones((1, 4, 4, 1)), 3, stride=2, pad=1).shape
    (1, 2, 2, 1)
    """
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        (1, size, size, 1),
        (1, stride, stride, 1),
        ((0, 0), (pad, pad), (pad, pad), (0, 0)),
    )


def mean_pool(
    x: Float[Array, "batch height width features"],
) -> Float[Array, "batch height width features"]:
    """Average 3x3 windows, of those at the edge what is inside the image.

    >>> float(mean_pool(jnp.ones((1, 2, 2, 1))).min())
    1.0
    """

    def add(values: Array) -> Array:
        return jax.lax.reduce_window(values, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")

    return add(x) / add(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def resize_shorter_side(images: Images, size: int) -> Float[Array, "batch rows columns 3"]:
    """Resize images so that the shorter side has a length, by averaging when they shrink.

    >>> resize_shorter_side(jnp.zeros((1, 8, 16, 3)), 4).shape
    (1, 4, 8, 3)
    """
    batch, height, width, channels = images.shape
    short = min(height, width)
    rows, columns = (side * size // short for side in (height, width))
    return jax.image.resize(images, (batch, rows, columns, channels), "linear", antialias=True)


def crop_centre(images: Images, size: int) -> Float[Array, "batch size size 3"]:
    """Cut the square of ``size`` pixels a side out of the middle.

    >>> crop_centre(jnp.zeros((1, 8, 16, 3)), 4).shape
    (1, 4, 4, 3)
    """
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]
