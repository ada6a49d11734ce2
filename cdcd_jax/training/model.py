"""A denoiser and its condition as one model with one set of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from cdcd_jax.conditioning.condition import Condition
from cdcd_jax.models.functional import Network
from cdcd_jax.typing import Params, PRNGKey


class Model(NamedTuple):
    """A model that is trained and sampled, as pure functions.

    Attributes:
        init: ``init(key) -> params``.
        denoise: ``denoise(params, zt, t, features) -> log p(z0 | zt, features)``, or logits: the
            diffusion normalises.
        encode: ``encode(params, cond) -> features``.
        source: ``source(params, features)``, which ``denoise`` and ``hidden`` take in place of
            features: what all steps of a sample share, a tree with a row for each example.
        null: ``null(params, batch) -> features`` of no condition; None for a model that was never
            trained without its condition, and so cannot be guided.
        dropout: Probability, in training, that an example loses its condition and gets ``null``.
        hidden: ``hidden(params, zt, t, features) -> [batch length width]``: ``denoise`` without its
            last layer; None for a model that has no such halves.
        head: ``head(params, hidden) -> log p(z0 | zt, features)`` or logits at any positions: that
            layer.
    """

    init: Callable[[PRNGKey], Params]
    denoise: Callable[[Params, Any, Any, Any], jax.Array]
    encode: Callable[[Params, Any], Any] = lambda params, cond: cond
    null: Callable[[Params, int], Any] | None = None
    dropout: float = 0.0
    hidden: Callable[[Params, Any, Any, Any], jax.Array] | None = None
    head: Callable[[Params, jax.Array], jax.Array] | None = None
    source: Callable[[Params, Any], Any] = lambda params, features: features


def make_model(network: Network, condition: Condition, *, dropout: float = 0.0) -> Model:
    """Join a denoiser and its condition.

    Args:
        network: The denoiser.
        condition: Its condition.
        dropout: Probability, in training, that an example loses its condition, 0..1.

    Returns:
        The model; its parameters are ``{"denoiser": ..., "condition": ...}``.

    Raises:
        ValueError: If ``dropout`` is out of range, or there is no condition to leave out.
    """
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout = {dropout} must be in [0, 1)")
    if dropout and condition.null is None:
        raise ValueError(f"dropout = {dropout} has no condition to leave out; set it to 0")
    null = condition.null

    def init(key: PRNGKey) -> Params:
        return {
            "denoiser": network.init(key),
            "condition": condition.init(jax.random.fold_in(key, 1)),
        }

    return Model(
        init=init,
        denoise=lambda params, *inputs: network.logits(params["denoiser"], *inputs),
        encode=lambda params, cond: condition.encode(params["condition"], cond),
        null=(lambda params, batch: null(params["condition"], batch)) if null and dropout else None,
        dropout=dropout,
        source=lambda params, features: network.source(params["denoiser"], features),
        hidden=lambda params, *inputs: network.hidden(params["denoiser"], *inputs),
        head=lambda params, hidden: network.head(params["denoiser"], hidden),
    )
