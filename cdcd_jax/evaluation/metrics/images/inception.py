"""Frechet distance, KID, precision, recall and Inception score in one pass."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from cdcd_jax.evaluation.batches import own_share
from cdcd_jax.evaluation.hosts import merge_hosts
from cdcd_jax.evaluation.metrics.feature_sample import (
    FeatureSample,
    init_feature_sample,
    kept_features,
    merge_feature_samples,
    update_feature_sample,
)
from cdcd_jax.evaluation.metrics.images.frechet import (
    Moments,
    frechet_distance,
    init_moments,
    merge_moments,
    update_moments,
)
from cdcd_jax.evaluation.metrics.images.inception_score import (
    Splits,
    inception_score,
    init_splits,
    merge_splits,
    update_splits,
)
from cdcd_jax.evaluation.metrics.images.neighbours import (
    FeatureSet,
    compare_features,
    describe_features,
)
from cdcd_jax.evaluation.metrics.images.real_images import ImageSet
from cdcd_jax.evaluation.metrics.images.reference import Reference
from cdcd_jax.evaluation.metrics.metric import Metric, check_finite
from cdcd_jax.models.features.inception import NUM_FEATURES


class Outputs(Protocol):
    """Outputs of the network: [batch 2048] features and [batch 1008] logits without bias."""

    @property
    def features(self) -> Any:
        """Features of the last pool."""
        ...

    @property
    def unbiased_logits(self) -> Any:
        """Logits without the classifier's bias."""
        ...


InceptionFn = Callable[[np.ndarray], Outputs]
"""Images [batch height width 3], values 0..1 -> outputs; best jitted."""


class _State(NamedTuple):
    moments: Moments
    splits: Splits
    sample: FeatureSample


def inception_metric(
    inception_fn: InceptionFn, reference: Reference, *, num_logits: int = 1008
) -> Metric:
    """Measure distances to real images, and the Inception score.

    Args:
        inception_fn: The network.
        reference: Of real images' features, from ``inception_reference`` or a file.
        num_logits: Number of the network's logits.

    Returns:
        A metric of images whose result is ``fid``, ``inception_score`` and, over its ten parts,
        ``inception_score_deviation``; and, where the reference has features, ``precision``,
        ``recall`` and ``kid`` of at most 10,000 images on each side.

    Note:
        ``fid`` and the score depend on the number of images: published distances are of 50,000
        samples, and the distance of fewer is larger. ``kid`` does not; precision and recall do.
    """
    dim = reference.gaussian.mean.size

    def extract(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = inception_fn(images)
        return np.asarray(outputs.features), np.asarray(outputs.unbiased_logits)

    @cache
    def real_features() -> FeatureSet | None:
        return None if reference.features is None else describe_features(reference.features)

    def compare(sample: FeatureSample) -> dict[str, float]:
        real = real_features()
        if real is None:
            return {}
        return compare_features(real, describe_features(kept_features(sample)))

    def update(state: _State, outputs: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> _State:
        return _State(
            update_moments(state.moments, outputs[0]),
            update_splits(state.splits, outputs[1]),
            update_feature_sample(state.sample, outputs[0]),
        )

    def result(state: _State) -> dict[str, float]:
        score, deviation = inception_score(state.splits)
        return {
            "fid": frechet_distance(state.moments, reference.gaussian),
            "inception_score": score,
            "inception_score_deviation": deviation,
            **compare(state.sample),
        }

    return Metric(
        inputs="images",
        extract=extract,
        init=lambda share: _State(
            init_moments(dim), init_splits(share, num_logits), init_feature_sample(share, dim)
        ),
        update=update,
        merge=lambda first, second: _State(
            merge_moments(first.moments, second.moments),
            merge_splits(first.splits, second.splits),
            merge_feature_samples(first.sample, second.sample),
        ),
        result=result,
        uses_labels=False,
    )


def inception_reference(
    inception_fn: InceptionFn,
    images: ImageSet,
    *,
    batch_size: int,
    dim: int = NUM_FEATURES,
    progress: bool = True,
) -> Reference:
    """Describe the features of real images, of all hosts' shares together.

    Args:
        inception_fn: The network.
        images: The images.
        batch_size: Images at once, on all hosts together.
        dim: Number of features.
        progress: Whether to show a progress bar.

    Returns:
        Moments of all features, and some of the features, each image's once.

    Raises:
        EvaluationError: If a feature is not finite; the sentence names the image.
    """
    share = own_share(len(images), batch_size)
    moments = init_moments(dim)
    sample = init_feature_sample(share, dim, distinct=images.num_distinct)
    for batch, _ in images.batches(batch_size, title="reference", progress=progress):
        features = np.asarray(inception_fn(batch / np.float32(255)).features)
        places = share.places(sample.num_done, len(features))
        check_finite(features, batch, places, images.name_of)
        moments = update_moments(moments, features)
        sample = update_feature_sample(sample, features)
    moments = merge_hosts(merge_moments, moments)
    return Reference(moments, kept_features(merge_hosts(merge_feature_samples, sample)))
