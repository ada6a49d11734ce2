"""A data set of stripes, a condition on their direction, and a metric of their brightness."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax import register
from cdcd_jax.conditioning.classes import ClassConditioning
from cdcd_jax.conditioning.condition import class_condition
from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.evaluation.metrics.metric import Metric
from cdcd_jax.tasks.conditions import ConditionKind
from cdcd_jax.tasks.sources import DataSet
from cdcd_jax.tasks.tokens import TokenSet, TokenTask

SIDE = 4


def load_stripes(config: Any, split: str) -> TokenSet:
    """Draw stripes of two grey levels, upright ones and flat ones in turn."""
    rng = np.random.default_rng(split == "test")
    labels = np.arange(config.data.num_stripes, dtype=np.int32) % 2
    rows = rng.integers(0, 2, (len(labels), 1, SIDE))
    images = np.repeat(rows, SIDE, axis=1)  # [images SIDE SIDE]
    images = np.where(labels[:, None, None] == 1, images.swapaxes(1, 2), images)
    examples = TokenExamples(
        tokens=images.reshape(len(labels), -1).astype(np.int32), cond=labels, group=labels
    )
    return TokenSet(examples, ("upright", "flat"), (SIDE, SIDE))


class Direction(ConditionKind):
    """A condition on the direction, which is a class."""

    def load(self, config: Any, facts: Mapping[str, Any], folder: Path) -> ClassConditioning:
        """Condition on as many classes as there are names."""
        names = tuple(facts["class_names"])
        return ClassConditioning(
            condition=class_condition(len(names)),
            denoiser={"condition": "class", "num_classes": len(names)},
            class_names=names,
        )


def make_brightness(config: Any, data: Any) -> Metric:
    """Measure the mean of all values of the images."""
    return Metric(
        inputs="images",
        extract=lambda images: np.asarray(images).mean(axis=(1, 2)),
        init=lambda share: np.zeros(2),
        update=lambda state, seen, labels: state + np.array([seen.sum(), len(seen)]),
        merge=lambda first, second: first + second,
        result=lambda state: {"brightness": float(state[0] / state[1])},
        uses_labels=False,
    )


register("source", "stripes", DataSet(tasks=(TokenTask,), load=load_stripes, keys=("num_stripes",)))
register("condition", "direction", Direction())
register("metric", "brightness", make_brightness)
