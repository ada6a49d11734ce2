"""The PatchGAN discriminator of codec training (Isola et al. 2017)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.nn import INIT_STD, Conv
from cdcd_jax.typing import Params, PRNGKey

SLOPE = 0.2


class Discriminator(NamedTuple):
    """A patch critic as pure functions of its parameters.

    Attributes:
        init: ``init(key) -> params``.
        apply: ``apply(params, images) -> scores [batch rows columns]``, one for each overlapping
            patch; high for real ones.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array], Array]


def make_discriminator(*, channels: int = 64, num_layers: int = 3) -> Discriminator:
    """Build the PatchGAN critic: convolutions 4x4 that halve the image, then two that do not.

    Args:
        channels: Features of the first layer, >= 1; they double in each later one, up to 8 times.
        num_layers: Number of halvings, >= 1. With 3, a score depends on a patch of 70 x 70 pixels.

    Returns:
        The critic.

    Raises:
        ValueError: If a number is out of range.

    Note:
        Taming-transformers normalises by the statistics of the batch; here each image is
        normalised on its own (one group), so that a score does not depend on the batch's other
        images nor on how the batch is split over devices.

    >>> critic = make_discriminator(channels=4, num_layers=2)
    >>> critic.apply(critic.init(jax.random.key(0)), jnp.zeros((2, 32, 32, 3))).shape
    (2, 6, 6)
    """
    for name, value in {"channels": channels, "num_layers": num_layers}.items():
        if value < 1:
            raise ValueError(f"{name} = {value} must be at least 1")

    def build(key: PRNGKey) -> "_Critic":
        return _Critic(channels, num_layers, rngs=nnx.Rngs(params=key))

    structure, _ = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))

    def init(key: PRNGKey) -> Params:
        return nnx.to_pure_dict(nnx.split(build(key))[1])

    def apply(
        params: Params, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch rows columns"]:
        return nnx.merge(structure, params)(images)

    return Discriminator(init, apply)


def _conv(fan_in: int, fan_out: int, stride: int, rngs: nnx.Rngs) -> Conv:
    padding = ((1, 1), (1, 1))
    return Conv(fan_in, fan_out, (4, 4), stride=stride, padding=padding, init=INIT_STD, rngs=rngs)


class _Norm(nnx.Module):
    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: Array) -> Array:
        mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
        variance = jnp.var(x, axis=(1, 2, 3), keepdims=True)
        x = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
        return x * self.scale[...][None, None, None] + self.bias[...][None, None, None]


class _Critic(nnx.Module):
    def __init__(self, channels: int, num_layers: int, *, rngs: nnx.Rngs):
        widths = [channels * min(2**layer, 8) for layer in range(num_layers + 1)]
        strides = [2] * (num_layers - 1) + [1]
        self.first = _conv(3, channels, 2, rngs)
        self.convs = nnx.List(
            [
                _conv(before, after, stride, rngs)
                for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True)
            ]
        )
        self.norms = nnx.List([_Norm(width) for width in widths[1:]])
        self.last = _conv(widths[-1], 1, 1, rngs)

    def __call__(self, x: Array) -> Array:
        x = jax.nn.leaky_relu(self.first(x), SLOPE)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.leaky_relu(norm(conv(x)), SLOPE)
        return self.last(x)[..., 0]


def smallest_image(num_layers: int) -> int:
    """Return the side of the smallest image that leaves the critic a score.

    >>> smallest_image(3)
    24
    """
    return 3 * 2**num_layers  # the two last convolutions take a row and a column each
