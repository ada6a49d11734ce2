"""The codebook of a VQ codec in training: exponential moving averages of the codes.

van den Oord et al. 2017, appendix A.1, with the restart of unused codes of Jukebox (Dhariwal et
al. 2020, section 3.1). Everything is float32, and sums go over the whole batch, so that the
codebook is the same on every device.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cdcd_jax.typing import Leaf, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Codebook:
    """Running sums of a codebook; a code is their quotient.

    Attributes:
        counts: [num_codes] running number of features that chose the code at an update.
        sums: [num_codes code_dim] running sum of these features.
        num_updates: How often it was updated; int32.
    """

    counts: Leaf
    sums: Leaf
    num_updates: Leaf

    @property
    def codes(self) -> Float[Array, "num_codes code_dim"]:
        """The code vectors."""
        return self.sums / self.counts[:, None]


def init_codebook(codes: Float[Array, "num_codes code_dim"]) -> Codebook:
    """Start from initial codes: the first update replaces them all.

    >>> init_codebook(jnp.ones((4, 2))).codes.shape
    (4, 2)
    """
    counts = jnp.full(len(codes), 1e-3, jnp.float32)  # a weak type would be compiled for twice
    return Codebook(counts=counts, sums=codes * counts[:, None], num_updates=jnp.zeros((), int))


def resume_codebook(
    codes: Float[np.ndarray, "num_codes code_dim"], *, count: float = 1.0
) -> Codebook:
    """Start from trained codes: they are moved, not replaced.

    Args:
        codes: The codes.
        count: Running count that each code starts with, > 0.

    >>> codebook = resume_codebook(np.ones((4, 2), np.float32))
    >>> int(codebook.num_updates), codebook.codes[0].tolist()
    (1, [1.0, 1.0])
    """
    counts = jnp.full(len(codes), count, jnp.float32)
    sums = jnp.asarray(codes, jnp.float32) * count
    return Codebook(counts=counts, sums=sums, num_updates=jnp.ones((), int))


def update_codebook(
    key: PRNGKey,
    codebook: Codebook,
    features: Float[Array, "features code_dim"],
    indices: Int[Array, " features"],
    *,
    decay: float = 0.99,
    restart_below: float = 0.05,
) -> tuple[Codebook, dict[str, Array]]:
    """Move each code towards the mean of the features that chose it, and restart dead codes.

    counts <- decay counts + (1 - decay) n_k, sums <- decay sums + (1 - decay) sum of the features
    that chose k. A code whose running count falls below ``restart_below`` of an even share is
    moved onto a random feature of this batch and given an even share's count, so that it has time
    to prove useful.

    Args:
        key: Random key, for which features the restarted codes take.
        codebook: As before the update.
        features: What the encoder gave.
        indices: The code each feature chose, 0..num_codes-1.
        decay: Share of the past kept, in [0, 1).
        restart_below: In [0, 1); 0 never restarts a code that was ever used.

    Returns:
        The codebook, and ``usage`` (share of the codes that this batch chose), ``perplexity``
        (exp of the entropy of the running counts; num_codes when all are used alike) and
        ``restarts`` (number of codes moved).
    """
    num_codes = len(codebook.counts)
    even_share = features.shape[0] / num_codes
    chosen = jnp.zeros(num_codes).at[indices].add(1.0)
    summed = jnp.zeros(codebook.sums.shape).at[indices].add(features)
    counts = decay * codebook.counts + (1 - decay) * chosen
    sums = decay * codebook.sums + (1 - decay) * summed
    # Codes that were never used must be restarted at the first update, hence <=.
    dead = (counts <= restart_below * even_share) | (codebook.num_updates == 0)
    places = jax.random.randint(key, (num_codes,), 0, features.shape[0])
    counts = jnp.where(dead, even_share, counts)
    sums = jnp.where(dead[:, None], even_share * features[places], sums)
    share = counts / jnp.sum(counts)
    metrics = {
        "usage": jnp.mean(chosen > 0),
        "perplexity": jnp.exp(-jnp.sum(share * jnp.log(jnp.maximum(share, 1e-20)))),
        "restarts": jnp.sum(dead).astype(jnp.float32),
    }
    return Codebook(counts=counts, sums=sums, num_updates=codebook.num_updates + 1), metrics
