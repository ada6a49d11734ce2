"""Names for the arrays that every part of the package passes around.

Axis glossary, used in every annotation: ``batch`` examples, ``length`` token positions, ``num_neg``
negatives, ``K`` real tokens, ``K+1`` or ``classes`` real tokens and the mask, ``steps`` diffusion
steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Tokens: TypeAlias = Int[Array, "batch length"]
"""Clean tokens have values 0..K-1, noised tokens 0..K, where K is the mask."""

Negatives: TypeAlias = Int[Array, "batch num_neg length"]
"""Clean token sequences that an example is contrasted with."""

LogProbs: TypeAlias = Float[Array, "batch length K"]
"""Normalised natural-log probabilities over the K real tokens."""

Timesteps: TypeAlias = Int[Array, " batch"]
"""Diffusion steps 1..T; 0 is clean data."""

PRNGKey: TypeAlias = Key[jax.Array, ""]
"""A typed key from ``jax.random.key``."""

Number: TypeAlias = float | Float[Array, ""]
"""What may be traced, so that trying several values compiles once."""

Leaf: TypeAlias = Any
"""A field of a registered dataclass: an array, or what a JAX transformation puts in its place."""

Params: TypeAlias = dict[str, Any]
"""A plain nested dict of arrays."""

DenoiseFn: TypeAlias = Callable[[Array, Array, Any], Array]
"""``denoise_fn(zt, t, cond) -> log p(z0 | zt, cond)``, shapes [batch length], [batch], any ->
[batch length K]. The interface of a network to the diffusion: nothing else about it is known
there."""

HeadFn: TypeAlias = Callable[[Array], Array]
"""``head_fn(hidden) -> log p(z0 | zt, cond)``, [batch positions width] -> [batch positions K], for
any positions of a sequence: the last layer of a network that is called in two parts."""


class Timed(NamedTuple):
    """Features of a condition at given times, such as a dance's.

    Attributes:
        features: [batch source dim].
        seconds: [batch source] when each one's middle is, from the start of what is generated; NaN
            for one that belongs to no time, such as a genre.
    """

    features: Leaf
    seconds: Leaf


def show_number(value: Any) -> str:
    """Return a number in a few digits for a ``repr``, or ``?`` where it has no value yet.

    >>> show_number(0.1 + 0.2), show_number(None)
    ('0.3', '?')
    """
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return "?"


def wide_dtype(dtype: Any) -> jnp.dtype:
    """Return the dtype of sums, exponentials and log-probabilities: float32, or float64 of float64.

    ``jnp.promote_types`` refuses the question under strict dtype promotion.

    >>> wide_dtype("bfloat16"), wide_dtype("float64")
    (dtype('float32'), dtype('float64'))
    """
    return jnp.dtype(jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32)
