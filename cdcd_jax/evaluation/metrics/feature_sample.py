"""A sample of features, evenly spaced over a large set."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Int, Real

from cdcd_jax.evaluation.batches import Share
from cdcd_jax.spacing import evenly_spaced

MAX_FEATURES = 10_000
"""At most so many are kept: 82 MB of InceptionV3's."""


class FeatureSample(NamedTuple):
    """A part of a set's features, with room for those that a host has.

    Attributes:
        share: Which examples of the set are this host's.
        wanted: [wanted] places in the set of the examples to keep, ascending.
        num_done: The host's examples so far.
        places: [slots] place of each kept example in the set; -1 where there is none yet.
        features: [slots dim] their features.
    """

    share: Share
    wanted: Int[np.ndarray, " wanted"]
    num_done: int
    places: Int[np.ndarray, " slots"]
    features: Float32[np.ndarray, "slots dim"]


def init_feature_sample(
    share: Share, dim: int, *, distinct: int | None = None, limit: int = MAX_FEATURES
) -> FeatureSample:
    """Return an empty sample, with as much room on each host.

    Args:
        share: This host's examples.
        dim: Number of features.
        distinct: How many examples there are before they repeat; all of the set if None.
        limit: At most so many are kept.

    Returns:
        The sample.
    """
    wanted = evenly_spaced(min(share.total, distinct or share.total), limit)
    width = max(share.last - share.first, -(-share.batch_size // jax.process_count()))
    slots = int(np.bincount((wanted % share.batch_size) // width).max())
    places = np.full(slots, -1)
    return FeatureSample(share, wanted, 0, places, np.zeros((slots, dim), np.float32))


def update_feature_sample(
    sample: FeatureSample, features: Real[np.ndarray, "batch dim"]
) -> FeatureSample:
    """Keep those of the next batch that are wanted; the arrays of ``sample`` are written to."""
    places = sample.share.places(sample.num_done, len(features))
    kept = np.isin(places, sample.wanted)
    start = int((sample.places >= 0).sum())
    slots = slice(start, start + int(kept.sum()))
    sample.places[slots] = places[kept]
    sample.features[slots] = features[kept]
    return sample._replace(num_done=sample.num_done + len(features))


def merge_feature_samples(first: FeatureSample, second: FeatureSample) -> FeatureSample:
    """Merge the samples of two hosts."""
    return first._replace(
        num_done=first.num_done + second.num_done,
        places=np.concatenate([first.places, second.places]),
        features=np.concatenate([first.features, second.features]),
    )


def kept_features(sample: FeatureSample) -> Float32[np.ndarray, "kept dim"]:
    """Return the features in the order of the set.

    >>> sample = init_feature_sample(Share(5, 5, 0, 5), 1, limit=3)
    >>> sample = update_feature_sample(sample, np.arange(5.0)[:, None])
    >>> kept_features(sample).ravel().tolist()
    [0.0, 2.0, 4.0]
    """
    order = np.argsort(sample.places, kind="stable")
    return sample.features[order[(sample.places < 0).sum() :]]
