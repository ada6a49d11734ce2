"""Conditions of a denoiser as pure functions: labels, learned texts or frozen features.

Each kind also has a null condition. A model that is trained with condition dropout can be guided
(``diffusion/guidance.py``).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.typing import Params, PRNGKey

NULLS = ("learned", "empty")


class Condition(NamedTuple):
    """A kind of condition.

    Attributes:
        init: ``init(key) -> params``; an empty dict where nothing is learned.
        encode: ``encode(params, cond) -> features``: what a batch holds -> what the denoiser takes.
        null: ``null(params, batch) -> features`` of so many examples without a condition; None
            where there is no such thing.
    """

    init: Callable[[PRNGKey], Params]
    encode: Callable[[Params, Any], Any]
    null: Callable[[Params, int], Any] | None


def no_condition() -> Condition:
    """Make an empty condition."""
    return Condition(lambda key: {}, lambda params, cond: None, None)


def class_condition(num_classes: int) -> Condition:
    """Make a condition of labels; no label is one more class, number ``num_classes``.

    >>> condition = class_condition(3)
    >>> condition.null({}, 2).tolist()
    [3, 3]
    """
    return Condition(
        lambda key: {},
        lambda params, cond: cond,
        lambda params, batch: jnp.full(batch, num_classes, jnp.int32),
    )


def text_condition(
    *,
    vocab_size: int,
    length: int,
    width: int,
    num_layers: int,
    num_heads: int,
    empty: np.ndarray,
    null: str = "learned",
    compute_dtype: str = "float32",
) -> Condition:
    """Read a text with a small transformer that is trained together with the denoiser.

    It is built like CLIP's text tower; the denoiser attends to the features of all its tokens.

    Args:
        vocab_size: Number of different tokens.
        length: Tokens of a text.
        width: Features of a token.
        num_layers: Transformer blocks, >= 1.
        num_heads: Attention heads; they divide ``width``.
        empty: [length] tokens of the empty text.
        null: The null condition: ``"learned"`` features, or the ``"empty"`` text.
        compute_dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``.

    Returns:
        The condition; its ``cond`` is tokens [batch length].

    Raises:
        ValueError: If a value is out of range.
    """
    check_null(null)
    encoder = make_clip_text(
        unit_norm=False,
        compute_dtype=compute_dtype,
        vocab_size=vocab_size,
        length=length,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
    )

    def init(key: PRNGKey) -> Params:
        encoder_key, null_key = jax.random.split(key)
        params: Params = {"encoder": encoder.init(encoder_key)}
        return params | _init_null(null_key, null, (length, width))

    def encode(params: Params, cond: Any) -> jax.Array:
        return encoder.apply(params["encoder"], jnp.asarray(cond))

    def no_text(params: Params, batch: int) -> jax.Array:
        features = params["null"] if null == "learned" else encode(params, empty[None])[0]
        return _repeat(features, batch)

    return Condition(init, encode, no_text)


def feature_condition(empty: np.ndarray, *, null: str = "learned") -> Condition:
    """Make a condition of features from a frozen encoder, such as CLIP's text tower.

    Args:
        empty: [length features] what that encoder makes of the empty text.
        null: The null condition: ``"learned"`` features, or those of the ``"empty"`` text.

    Returns:
        The condition; its ``cond`` is features [batch length features].

    Raises:
        ValueError: If ``null`` is neither.
    """
    check_null(null)

    def no_text(params: Params, batch: int) -> jax.Array:
        return _repeat(params["null"] if null == "learned" else jnp.asarray(empty), batch)

    return Condition(
        lambda key: _init_null(key, null, empty.shape), lambda params, cond: cond, no_text
    )


def drop_condition(dropped: Bool[Array, " batch"], features: Any, null: Any) -> Any:
    """Replace the conditions of some examples by no condition (condition dropout).

    Args:
        dropped: Which ones.
        features: What ``encode`` made of a batch: an array, or a tree of them.
        null: Features of the same form without a condition, as ``Condition.null`` makes them.

    Returns:
        Features of the same form.

    >>> drop_condition(jnp.array([True, False]), jnp.array([1, 2]), jnp.array([9, 9])).tolist()
    [9, 2]
    """

    def choose(feature: jax.Array, nothing: jax.Array) -> jax.Array:
        return jnp.where(dropped.reshape(-1, *[1] * (feature.ndim - 1)), nothing, feature)

    return jax.tree.map(choose, features, null)


def check_null(null: str) -> None:
    """Raise a ValueError unless a way to stand for no text is known."""
    if null not in NULLS:
        raise ValueError(f'null = "{null}" must be one of "learned", "empty"')


def _init_null(key: PRNGKey, null: str, shape: tuple[int, ...]) -> Params:
    return {"null": 0.02 * jax.random.normal(key, shape)} if null == "learned" else {}


def _repeat(features: jax.Array, batch: int) -> jax.Array:
    return jnp.broadcast_to(features[None], (batch, *features.shape))
