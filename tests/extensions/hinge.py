"""A contrastive term that is not part of the package: a negative counts only within a margin."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.diffusion.contrastive import SequenceTerms
from cdcd_jax.registry import register

MARGIN = 10.0
"""Nats by which a negative may be worse explained than its example before it no longer counts."""


class Hinge:
    """Bounded: once the model tells a negative from its example, nothing pushes them apart."""

    corrupts_negatives = False

    def score(self, terms: SequenceTerms) -> Float[Array, "batch num_neg"]:
        """Return -log p(z0 | zt, cond)."""
        return terms.nll

    def aggregate(
        self, negatives: Float[Array, "batch num_neg"], positive: Float[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """Return the mean of max(0, margin - (negative - positive))."""
        return jnp.mean(jnp.maximum(MARGIN - negatives + positive[:, None], 0.0), axis=1)


register("contrast", "hinge", Hinge())
