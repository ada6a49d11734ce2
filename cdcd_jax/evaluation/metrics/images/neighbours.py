"""Precision, recall and kernel distance of two sets of features.

All follow from the inner products of the features, which are computed once, some rows at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Real

NEIGHBOURS = 3
ROWS = 1024
"""Rows of inner products at once: of 10,000 examples 82 MB."""


class FeatureSet(NamedTuple):
    """A set of features with what all comparisons of it need.

    Attributes:
        features: [examples dim] the features.
        radius: [examples] squared distance to each one's k-th nearest neighbour in the set.
        kernel: Mean kernel of all pairs of different examples.
        neighbours: k.
    """

    features: Float64[np.ndarray, "examples dim"]
    radius: Float64[np.ndarray, " examples"]
    kernel: float
    neighbours: int


def compare_features(real: FeatureSet, made: FeatureSet) -> dict[str, float]:
    """Measure how far generated examples lie among real ones, and the other way round.

    An example is covered by a set if it is as near to one of its members as that member's k-th
    nearest neighbour in the set. Precision is the share of generated examples that the real ones
    cover, recall that of real examples that the generated ones cover (Kynkäänniemi et al. 2019).
    The kernel distance is the unbiased estimate of the squared maximum mean discrepancy with the
    kernel (x y / dim + 1)^3 (Bińkowski et al. 2018), over all pairs in place of random subsets.

    Args:
        real: Features of real examples.
        made: Features of generated examples, of the same dimension; any number.

    Returns:
        ``precision`` and ``recall`` (0..1), if there are more than k examples on each side, and
        ``kid`` (about 0 for equal distributions, so that it may be below), if more than one.

    >>> line = np.arange(8.0)[:, None]
    >>> near = describe_features(line[:4] + 0.5, neighbours=1)
    >>> compare_features(describe_features(line, neighbours=1), near)["precision"]
    1.0
    """
    (num_real, dim), num_made = real.features.shape, len(made.features)
    if min(num_real, num_made) < 2:
        return {}
    covered, covering, kernel = [], np.zeros(num_real, bool), 0.0
    for rows, products in _products(made.features, real.features):
        distances = _distances(products, made.features[rows], real.features)
        covered.append((distances <= real.radius[None, :]).any(axis=1))
        covering |= (distances <= made.radius[rows, None]).any(axis=0)
        kernel += _kernel(products, dim).sum()
    kid = {"kid": float(real.kernel + made.kernel - 2 * kernel / (num_real * num_made))}
    if min(num_real, num_made) <= real.neighbours:
        return kid
    precision = float(np.concatenate(covered).mean())
    return {"precision": precision, "recall": float(covering.mean()), **kid}


def describe_features(
    features: Real[np.ndarray, "examples dim"], *, neighbours: int = NEIGHBOURS
) -> FeatureSet:
    """Compute what all comparisons of a set need.

    Args:
        features: The features.
        neighbours: k.

    Returns:
        The set; of fewer than two examples it compares with none.
    """
    features = np.asarray(features, np.float64)
    count, dim = features.shape
    if count < 2:
        return FeatureSet(features, np.zeros(count), 0.0, neighbours)
    radius, kernel = np.zeros(count), 0.0
    for rows, products in _products(features, features):
        distances = _distances(products, features[rows], features)
        own = (np.arange(len(products)), np.arange(rows.start, rows.start + len(products)))
        # An example is not a neighbour of itself, but one that equals it is.
        distances[own] = -1.0
        k = min(neighbours, count - 1)
        radius[rows] = np.partition(distances, k, axis=1)[:, k]
        kernels = _kernel(products, dim)
        kernel += kernels.sum() - kernels[own].sum()
    return FeatureSet(features, radius, float(kernel / (count * (count - 1))), neighbours)


def _products(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(first), ROWS):
        rows = slice(start, start + ROWS)
        yield rows, first[rows] @ second.T


def _distances(products: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared distances [first second]; rounding may not make them negative."""
    norms = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :]
    return np.maximum(norms - 2 * products, 0.0)


def _kernel(products: np.ndarray, dim: int) -> np.ndarray:
    return (products / dim + 1) ** 3
