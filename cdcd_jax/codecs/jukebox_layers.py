"""The layers of a Jukebox codec: residual block, transposed convolution, initialisation.

Lengthening is a matrix product: on CPU the gradient of XLA's convolution took 95 ms where that of
the product took 13.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.nn import Conv, add_bias
from cdcd_jax.typing import Params, PRNGKey

Sequence = Float[Array, "batch length features"]

MIXED_SCALE = 0.2
"""Standard deviation of what a residual block adds at first, where its input's is 1."""


def draw_weights(key: PRNGKey, shapes: Params) -> Params:
    """Draw the weights of a codec at the start of its training.

    Kernels are uniform, with the variance that gives an output the scale of its input: 1 / inputs
    that an output sees, or 2 / inputs behind a rectifier. PyTorch's own start, which the published
    codec had, makes a sound 10,000 times quieter on its way through a network without norms, and
    the first hundred steps are spent on that. All numbers come from one draw: one for each array
    would take XLA long to compile.

    Args:
        key: Random key.
        shapes: ``"encoder"`` and ``"decoder"``: nested dicts of anything with a shape.

    Returns:
        The same dict with float32 arrays; biases are 0.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    sizes = [math.prod(leaf.shape) for _, leaf in leaves]
    drawn = jax.random.uniform(key, (sum(sizes),), minval=-1)
    ends = itertools.accumulate(sizes)
    arrays = []
    for (entries, leaf), size, end in zip(leaves, sizes, ends, strict=True):
        path = [str(entry.key) for entry in entries]
        bound = math.sqrt(3 * _variance(path, leaf.shape)) if path[-1] == "kernel" else 0.0
        arrays.append(bound * drawn[end - size : end].reshape(leaf.shape))
    return jax.tree.unflatten(structure, arrays)


def _variance(path: list[str], shape: tuple[int, ...]) -> float:
    size, fan_in, _ = shape
    if path[-2] == "resize" and path[0] == "decoder":
        return 1 / (2 * fan_in)  # however long the kernel, an output sees two inputs
    gain = {"dilated": 2.0, "mixed": 2.0 * MIXED_SCALE**2}.get(path[-2], 1.0)
    return gain / (size * fan_in)


class ResidualBlock(nnx.Module):
    """A rectified dilated convolution of width 3 and one of width 1, added to the input."""

    def __init__(self, features: int, dilation: int):
        self.dilated = Conv(features, features, (3,), dilation=dilation)
        self.mixed = Conv(features, features, (1,))

    def __call__(self, x: Sequence) -> Array:
        """Return a sequence of the same shape."""
        return x + self.mixed(jax.nn.relu(self.dilated(jax.nn.relu(x))))


class Shorten(Conv):
    """A convolution with a kernel of 2 strides at every stride-th place; the stride is even."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        padding = ((stride // 2, stride // 2),)
        super().__init__(fan_in, fan_out, (2 * stride,), stride=stride, padding=padding)


class Lengthen(nnx.Module):
    """A transposed convolution: each input covers 2 strides; the stride is even."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        self.kernel = nnx.Param(jnp.zeros((2 * stride, fan_in, fan_out)))
        self.bias = nnx.Param(jnp.zeros(fan_out))
        self.stride = stride

    def __call__(self, x: Sequence) -> Array:
        """Return a sequence that is ``stride`` times as long."""
        stride, (batch, length, fan_in) = self.stride, x.shape
        matrix = self.kernel[...].astype(x.dtype).swapaxes(0, 1).reshape(fan_in, -1)
        halves = (x.reshape(-1, fan_in) @ matrix).reshape(batch, length, 2, -1)
        # Where one input's second half lies, the next one's first half does.
        pieces = _pad(halves[:, :, 0], 0, 1) + _pad(halves[:, :, 1], 1, 0)
        whole = pieces.reshape(batch, (length + 1) * stride, -1)
        longer = whole[:, stride // 2 : stride // 2 + length * stride]
        return add_bias(longer, self.bias[...])


def _pad(x: Array, before: int, after: int) -> Array:
    return jnp.pad(x, ((0, 0), (before, after), (0, 0)))
