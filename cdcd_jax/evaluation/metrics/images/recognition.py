"""Accuracy of a pretrained classifier on samples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cdcd_jax.evaluation.metrics.metric import Metric

TOP = 5


def recognition_metric(
    logits_fn: Callable[[np.ndarray], Any], classes: Sequence[int], *, name: str = "resnet"
) -> Metric:
    """Count how often the class of a sample is a classifier's first prediction, or in its top five.

    Args:
        logits_fn: Images [batch height width 3], values 0..1 -> logits [batch outputs]; best
            jitted.
        classes: For each of our labels, the output of the classifier.
        name: Of the classifier, in the keys.

    Returns:
        A metric of images whose result is ``<name>_top1`` and ``<name>_top5`` (0..1).
    """
    outputs = np.asarray(classes)

    def extract(images: np.ndarray) -> np.ndarray:
        return np.argsort(-np.asarray(logits_fn(images)), axis=1, kind="stable")[:, :TOP]

    def update(counts: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        right = predictions == outputs[labels][:, None]
        return counts + np.array([len(labels), right[:, 0].sum(), right.any(axis=1).sum()])

    def result(counts: np.ndarray) -> dict[str, float]:
        total, first, among = counts.tolist()
        return {f"{name}_top1": first / total, f"{name}_top5": among / total}

    return Metric(
        inputs="images",
        extract=extract,
        init=lambda share: np.zeros(3, np.int64),
        update=update,
        merge=lambda first, second: first + second,
        result=result,
    )
