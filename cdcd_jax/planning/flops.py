"""FLOPs of a function, counted in its jaxpr: nothing is compiled and no array is made."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

MOVERS = ("gather", "scatter", "scatter-add", "sort", "top_k", "cumsum")
"""What moves arrays through memory beside matrix products; the rest is taken to be fused."""


@dataclass(frozen=True)
class Cost:
    """The cost of a computation.

    Attributes:
        flops: Floating point operations of its matrix products and convolutions, a multiplication
            and an addition being two.
        bytes: Bytes that those, and gathers and scatters, read and write if everything between
            them is fused: a lower bound on the traffic of a device's memory.
    """

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, factor: float) -> "Cost":
        """Return the cost of doing it so many times."""
        return Cost(self.flops * factor, self.bytes * factor)


def count_cost(fn: Callable[..., Any], *args: Any) -> Cost:
    """Count what a call costs, from the shapes of its arguments.

    A product of [b m k] and [b k n] takes 2 b m k n operations. Loops count as often as they run,
    of branches the dearest counts, and what ``jax.checkpoint`` computes again counts again. A
    ``while`` loop that does not say how often it runs counts once; training has none with products.

    Args:
        fn: What is called, jitted or not.
        *args: Its arguments, arrays or ``jax.ShapeDtypeStruct``.

    Returns:
        The cost on one device.

    >>> import jax.numpy as jnp
    >>> x, w = jax.ShapeDtypeStruct((4, 8), "f4"), jax.ShapeDtypeStruct((8, 16), "f4")
    >>> count_cost(jnp.dot, x, w)
    Cost(flops=1024.0, bytes=896.0)
    """
    return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> Cost:
    total = Cost()
    for eqn in jaxpr.eqns:
        total += _count_equation(eqn)
    return total


def _count_equation(eqn: JaxprEqn) -> Cost:
    name = eqn.primitive.name
    if name == "dot_general":
        return Cost(_dot_flops(eqn), _touched(eqn))
    if name == "conv_general_dilated":
        return Cost(_conv_flops(eqn), _touched(eqn))
    if name == "gather":
        return Cost(0.0, 2.0 * _size(eqn.outvars[0]))
    if name in MOVERS:
        return Cost(0.0, _touched(eqn))
    inner = [_count(jaxpr) for jaxpr in _inside(eqn)]
    if not inner:
        return Cost()
    if name == "cond":
        return max(inner, key=lambda cost: cost.flops)
    if name == "scan":
        return inner[0].times(float(eqn.params["length"]))
    total = Cost()
    for cost in inner:
        total += cost
    return total


def _inside(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """Find the programs that an operation calls; of a custom derivative, only its value."""
    if eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"):
        found = eqn.params.get("call_jaxpr", eqn.params.get("fun_jaxpr"))
        values: list[Any] = [found]
    else:
        values = list(eqn.params.values())
    for value in values:
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(part, ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, Jaxpr):
                yield part


def _dot_flops(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)


def _conv_flops(eqn: Any) -> float:
    """Count the products of a kernel's taps with true inputs, not with padding."""
    params, image, kernel, out = eqn.params, *(x.aval.shape for x in (*eqn.invars, eqn.outvars[0]))
    numbers = params["dimension_numbers"]
    features = kernel[numbers.rhs_spec[0]] * kernel[numbers.rhs_spec[1]]
    pairs = math.prod(
        count_taps(
            image[numbers.lhs_spec[2 + axis]],
            out[numbers.out_spec[2 + axis]],
            size=kernel[numbers.rhs_spec[2 + axis]],
            stride=params["window_strides"][axis],
            before=before,
            lhs_dilate=params["lhs_dilation"][axis],
            rhs_dilate=params["rhs_dilation"][axis],
        )
        for axis, (before, _) in enumerate(params["padding"])
    )
    return 2.0 * out[numbers.out_spec[0]] * features * pairs


def count_taps(
    image: int, out: int, *, size: int, stride: int, before: int, lhs_dilate: int, rhs_dilate: int
) -> int:
    """Count the pairs of a place and a tap of a kernel that meet an input, along one axis.

    Args:
        image: Size of the input.
        out: Size of the result.
        size: Taps of the kernel.
        stride: From one place to the next.
        before: Padding before the input.
        lhs_dilate: Distance of the inputs.
        rhs_dilate: Distance of the taps.

    >>> count_taps(8, 8, size=3, stride=1, before=1, lhs_dilate=1, rhs_dilate=1)  # of 24
    22
    """
    origin = np.arange(out)[:, None] * stride + np.arange(size) * rhs_dilate - before
    inside = (origin >= 0) & (origin <= (image - 1) * lhs_dilate) & (origin % lhs_dilate == 0)
    return int(inside.sum())


def _touched(eqn: JaxprEqn) -> float:
    return float(sum(_size(x) for x in (*eqn.invars, *eqn.outvars)))


def _size(x: Any) -> int:
    shape = getattr(x.aval, "shape", ())
    dtype = x.aval.dtype
    return math.prod(shape) * getattr(dtype, "itemsize", 4)
