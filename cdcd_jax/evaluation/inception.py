"""Frechet Inception distance and Inception score, from one look at each picture."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from cdcd_jax.evaluation.frechet import (
    Moments,
    frechet_distance,
    init_moments,
    merge_moments,
    update_moments,
)
from cdcd_jax.evaluation.hosts import merge_hosts
from cdcd_jax.evaluation.inception_score import (
    Splits,
    inception_score,
    init_splits,
    merge_splits,
    update_splits,
)
from cdcd_jax.evaluation.scorer import Scorer


class Outputs(Protocol):
    """What the network gives: [batch 2048] features and [batch 1008] logits without bias."""

    @property
    def features(self) -> Any:
        """Features of the last pool."""
        ...

    @property
    def unbiased_logits(self) -> Any:
        """Logits without the classifier's bias."""
        ...


InceptionFn = Callable[[np.ndarray], Outputs]
"""Pictures [batch height width 3], values 0..1 -> outputs; best jitted."""


class _State(NamedTuple):
    moments: Moments
    splits: Splits


def inception_scorer(
    inception_fn: InceptionFn, reference: Moments, *, num_logits: int = 1008
) -> Scorer:
    """Measure the Frechet Inception distance to real pictures, and the Inception score.

    Args:
        inception_fn: The network.
        reference: Moments of real pictures' features, from ``inception_moments``.
        num_logits: Number of the network's logits.

    Returns:
        A scorer of pictures whose result is ``fid``, ``inception_score`` and, over its ten parts,
        ``inception_score_deviation``.

    Note:
        Both depend on the number of pictures: published distances are of 50,000 samples, and the
        distance of fewer is larger.
    """
    dim = reference.mean.size

    def look(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = inception_fn(pictures)
        return np.asarray(outputs.features), np.asarray(outputs.unbiased_logits)

    def update(state: _State, seen: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> _State:
        return _State(update_moments(state.moments, seen[0]), update_splits(state.splits, seen[1]))

    def result(state: _State) -> dict[str, float]:
        score, deviation = inception_score(state.splits)
        return {
            "fid": frechet_distance(state.moments, reference),
            "inception_score": score,
            "inception_score_deviation": deviation,
        }

    return Scorer(
        sees="pictures",
        look=look,
        init=lambda share: _State(init_moments(dim), init_splits(share, num_logits)),
        update=update,
        merge=lambda first, second: _State(
            merge_moments(first.moments, second.moments), merge_splits(first.splits, second.splits)
        ),
        result=result,
    )


def inception_moments(
    inception_fn: InceptionFn, batches: Iterable[np.ndarray], *, dim: int = 2048
) -> Moments:
    """Take the moments of the features of real pictures, of all hosts' streams together.

    Args:
        inception_fn: The network.
        batches: Pictures [batch height width 3], values 0..1.
        dim: Number of features.

    Returns:
        The moments.
    """
    moments = init_moments(dim)
    for pictures in batches:
        moments = update_moments(moments, np.asarray(inception_fn(pictures).features))
    return merge_hosts(merge_moments, moments)
