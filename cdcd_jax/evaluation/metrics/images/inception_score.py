"""The Inception score (Salimans et al. 2016) of a stream of class probabilities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cdcd_jax.evaluation.batches import Share

NUM_SPLITS = 10


class Splits(NamedTuple):
    """Sums of class probabilities in ten parts.

    Attributes:
        share: Which examples of the set these are.
        counts: [splits] examples so far in each part.
        probs: [splits classes] their summed probabilities.
        negentropy: [splits] their summed sum_k p_k log p_k, in nats.
    """

    share: Share
    counts: Int[np.ndarray, " splits"]
    probs: Float[np.ndarray, "splits classes"]
    negentropy: Float[np.ndarray, " splits"]


def init_splits(share: Share, num_classes: int) -> Splits:
    """Return the sums of no examples, before those of a host's share come in their order."""
    zeros = np.zeros(NUM_SPLITS)
    return Splits(share, zeros.astype(int), np.zeros((NUM_SPLITS, num_classes)), zeros)


def update_splits(splits: Splits, logits: Float[np.ndarray, "batch classes"]) -> Splits:
    """Add a batch; part i is the examples [i N // 10 : (i+1) N // 10], as in published scores."""
    logits = logits.astype(np.float64)
    log_probs = logits - logits.max(axis=1, keepdims=True)
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    probs = np.exp(log_probs)
    position = splits.share.places(int(splits.counts.sum()), len(logits))
    # The last i with i N // 10 <= position; parts without examples are skipped.
    part = ((position + 1) * NUM_SPLITS - 1) // splits.share.total
    member = (part[None, :] == np.arange(NUM_SPLITS)[:, None]).astype(np.float64)
    return Splits(
        splits.share,
        splits.counts + member.sum(axis=1).astype(int),
        splits.probs + member @ probs,
        splits.negentropy + member @ (probs * log_probs).sum(axis=1),
    )


def merge_splits(first: Splits, second: Splits) -> Splits:
    """Merge the sums of two hosts, part by part."""
    return Splits(
        first.share,
        first.counts + second.counts,
        first.probs + second.probs,
        first.negentropy + second.negentropy,
    )


def inception_score(splits: Splits) -> tuple[float, float]:
    """Compute exp of the mean KL(p(y|x) || p(y)) in each part.

    Args:
        splits: Of at least one example.

    Returns:
        Mean and standard deviation over the parts that have examples; 1 is the least, the number
        of classes the most. Few examples in a part lower it: published scores have 5,000.

    >>> sure = np.array([[50.0, 0.0], [0.0, 50.0]] * 10)
    >>> inception_score(update_splits(init_splits(Share(20, 20, 0, 20), 2), sure))
    (2.0, 0.0)
    """
    filled = splits.counts > 0
    counts = splits.counts[filled]
    mean = splits.probs[filled] / counts[:, None]
    marginal = np.sum(mean * np.log(np.maximum(mean, 1e-300)), axis=1)
    scores = np.exp(splits.negentropy[filled] / counts - marginal)
    return float(scores.mean()), float(scores.std())
