"""The Frechet distance of two sets of features, taken as Gaussians (Heusel et al. 2017).

Everything is float64 NumPy: the distance is a small difference of large traces.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Real

Features = Real[np.ndarray, "examples dim"]


class Moments(NamedTuple):
    """Mean and scatter of features.

    Attributes:
        num_examples: How many there were.
        mean: [dim] their mean.
        scatter: [dim dim] sum of the outer products of the deviations from the mean.
    """

    num_examples: int
    mean: Float64[np.ndarray, " dim"]
    scatter: Float64[np.ndarray, "dim dim"]

    @property
    def covariance(self) -> Float64[np.ndarray, "dim dim"]:
        """Estimate the covariance, unbiased (divided by num_examples - 1).

        Raises:
            ValueError: If there are fewer than two examples.
        """
        if self.num_examples < 2:
            raise ValueError(
                "a Frechet distance needs at least 2 examples on each side, "
                f"got {self.num_examples}"
            )
        return self.scatter / (self.num_examples - 1)


class Gaussian(NamedTuple):
    """A Gaussian whose examples are not known.

    Attributes:
        mean: [dim] its mean.
        covariance: [dim dim] its covariance.
    """

    mean: Float64[np.ndarray, " dim"]
    covariance: Float64[np.ndarray, "dim dim"]


def init_moments(dim: int) -> Moments:
    """Return the moments of no examples at all."""
    return Moments(0, np.zeros(dim), np.zeros((dim, dim)))


def update_moments(moments: Moments, features: Features) -> Moments:
    """Add a batch of features.

    Args:
        moments: Of the examples before.
        features: The batch; may be empty.

    Returns:
        Moments of all the examples together.

    >>> moments = update_moments(init_moments(1), np.array([[1.0], [2.0]]))
    >>> moments = update_moments(moments, np.array([[6.0]]))
    >>> moments.mean.tolist(), moments.covariance.tolist()
    ([3.0], [[7.0]])
    """
    if len(features) == 0:
        return moments
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    centred = features - mean[None, :]
    return merge_moments(moments, Moments(len(features), mean, centred.T @ centred))


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Merge two sets (the pairwise update of Chan, Golub and LeVeque, 1979).

    Unlike a running sum of squares it loses no digits when the mean is far from zero, and the order
    and size of the parts change the result by rounding only. So batches, and hosts, add up.

    Args:
        first: Of any number of examples.
        second: Of other examples, with features of the same dimension.

    Returns:
        Moments of all the examples together.

    >>> one, other = (Moments(1, np.array([x]), np.zeros((1, 1))) for x in (1.0, 3.0))
    >>> merge_moments(one, other).covariance.tolist()
    [[2.0]]
    """
    count = first.num_examples + second.num_examples
    if count == 0:
        return first
    shift = second.mean - first.mean
    between = np.outer(shift, shift) * (first.num_examples * second.num_examples / count)
    return Moments(
        count,
        first.mean + shift * (second.num_examples / count),
        first.scatter + second.scatter + between,
    )


def frechet_distance(first: Moments | Gaussian, second: Moments | Gaussian) -> float:
    """Measure how far apart two Gaussians are.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), by symmetric eigenvalue problems only, so
    that covariances of low rank are no trouble and nothing turns complex.

    Args:
        first: Moments of at least two examples, or a Gaussian.
        second: Likewise, of the same dimension.

    Returns:
        The squared 2-Wasserstein distance in squared units of the features; 0 for equal moments.

    Raises:
        ValueError: If a covariance cannot be estimated or is not finite, or the dimensions differ.

    Note:
        The estimate is biased upwards for few examples: compare distances of equally many.

    >>> near = update_moments(init_moments(1), np.array([[-1.0], [1.0]]))
    >>> far = update_moments(init_moments(1), np.array([[2.0], [4.0]]))
    >>> round(frechet_distance(near, far), 9)
    9.0
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"the features have {first.mean.size} and {second.mean.size} dimensions; "
            "take both from the same network"
        )
    of_first, of_second = first.covariance, second.covariance
    if not all(np.isfinite(x).all() for x in (first.mean, second.mean, of_first, of_second)):
        raise ValueError("a mean or covariance of the features is not finite")
    root = _symmetric_root(of_first)
    # The eigenvalues of the product are the squares of those whose sum is wanted.
    product = np.linalg.eigvalsh(root @ of_second @ root)
    shared = np.sqrt(np.maximum(product, 0.0)).sum()
    apart = np.sum((first.mean - second.mean) ** 2)
    spread = np.trace(of_first) + np.trace(of_second)
    return max(0.0, float(apart + spread - 2.0 * shared))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    # Rounding makes zero eigenvalues of a covariance slightly negative.
    return (vectors * np.sqrt(np.maximum(values, 0.0))[None, :]) @ vectors.T
