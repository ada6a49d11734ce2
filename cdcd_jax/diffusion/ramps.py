"""Numbers of a sampler that change on the way from noise to clean tokens.

Each is a function of u = t/T, which falls from 1 at the first reverse step to 0 at the last. All
fields may be traced, so that trying several values under ``jax.jit`` compiles once.
"""

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_scalar, is_traced, require
from cdcd_jax.typing import Leaf, Number


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ramp:
    """A number that goes from one value to another: end + (start - end) u^power.

    Attributes:
        start: Value at the first reverse step, u = 1.
        end: Value at u = 0.
        power: Above 1 leaves ``start`` early, below 1 late.

    Example:
        >>> [float(Ramp(4.0, 1.0).at(u)) for u in (1.0, 0.5, 0.0)]
        [4.0, 2.5, 1.0]
    """

    start: Leaf
    end: Leaf
    power: Leaf = 1.0

    def at(self, u: Any) -> Float[Array, "..."]:
        """Return the value at u = t/T."""
        return self.end + (self.start - self.end) * jnp.asarray(u) ** self.power


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interval:
    """A number within an interval of the steps, and another outside.

    Guidance within an interval only is from "Applying Guidance in a Limited Interval Improves
    Sample and Distribution Quality in Diffusion Models" (Kynkaanniemi et al. 2024).

    Attributes:
        value: Value where low < u <= high.
        low: Lower end of the interval, 0..1.
        high: Upper end of the interval, 0..1.
        otherwise: Value elsewhere; a scale of guidance of 1 is none.

    Example:
        >>> [float(Interval(3.0, 0.2, 0.8).at(u)) for u in (1.0, 0.5, 0.2)]
        [1.0, 3.0, 1.0]
    """

    value: Leaf
    low: Leaf = 0.0
    high: Leaf = 1.0
    otherwise: Leaf = 1.0

    def at(self, u: Any) -> Float[Array, "..."]:
        """Return the value at u = t/T."""
        u = jnp.asarray(u)
        return jnp.where((self.low < u) & (u <= self.high), self.value, self.otherwise)


Varying: TypeAlias = Number | Ramp | Interval
"""A number, or one that changes with u = t/T."""

Progress: TypeAlias = float | Float[Array, "*batch"]
"""u = t/T, 0..1, of one step or of each row's."""


def value_at(number: Varying, u: Progress) -> Progress:
    """Return what a number is at u = t/T; one that does not change is returned as it is."""
    return number.at(u) if isinstance(number, Ramp | Interval) else number


def values_of(number: Varying) -> tuple[Number, ...]:
    """Return the values that a number has at its ends."""
    if isinstance(number, Ramp):
        return number.start, number.end
    return (number.value, number.otherwise) if isinstance(number, Interval) else (number,)


def is_constant(number: Varying, value: float) -> bool:
    """Whether a number is known to be a value at all steps."""
    changes = isinstance(number, Ramp | Interval) or is_traced(number)
    return not changes and bool(number == value)


def check_varying(name: str, number: Varying) -> None:
    """Raise a ValueError unless a number, or each field of one that changes, is a real number."""
    if not isinstance(number, Ramp | Interval):
        check_scalar(name, number)
        return
    for field in dataclasses.fields(number):
        check_scalar(f"{name}.{field.name}", getattr(number, field.name))
    if isinstance(number, Ramp):
        require(
            lambda power: (power > 0.0) & (power < float("inf")),
            f"{name}.power = {{value}} of a Ramp must be above 0 and finite",
            number.power,
        )
        return
    require(
        lambda low, high: (low >= 0.0) & (low < high) & (high <= 1.0),
        f"{name}: the Interval from low = {{value}} must have 0 <= low < high <= 1, of t/T",
        number.low,
        number.high,
    )
