"""Metrics of an experiment's samples, from the section ``eval``."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.images.classifier import (
    classifier_metric,
    image_classifier,
    token_classifier,
)
from cdcd_jax.evaluation.metrics.metric import Metric
from cdcd_jax.registry import METRICS, register
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.tasks.miniature import NOTICE, is_synthetic
from cdcd_jax.tasks.token_data import TokenData

CLASS_FILES = ("inception_weights", "resnet_weights", "reference")
CAPTION_FILES = ("inception_weights", "clip_weights", "clip_merges", "reference")
PLACES = tuple(dict.fromkeys((*CLASS_FILES, *CAPTION_FILES)))
"""Keys that are files, of which images of classes and images with captions are scored with some."""


MAX_FITTED = 50_000
"""Examples that a classifier is fitted to, as ``eval.num_real`` has it by default."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The scoring of samples.

    Attributes:
        make_options: ``make_options() -> options of evaluate``: metrics, the codec's way back and
            real test examples. It reads data and fits a classifier, so it is called when there is
            something to score.
        check: Raises a ValueError if there are no real examples to score by, or a file is damaged
            or of another network. It reads files of weights whole, in seconds, so it is called once
            before training and before an evaluation, and not to draw samples.
        unmeasured: Sentences on what is not measured, and which file would change that, or on
            scores that mean nothing.
    """

    make_options: Callable[[], dict[str, Any]]
    check: Callable[[], None] = lambda: None
    unmeasured: tuple[str, ...] = ()


def add_metrics(scoring: Scoring, config: Any, data: TokenData) -> Scoring:
    """Add the metrics that ``eval.metrics`` names to those of the task.

    Each is an entry of the table ``METRICS``, ``make(config, data) -> Metric``.

    Raises:
        ValueError: If a name is in no table.
    """
    makers = [METRICS.find(name, "eval.metrics") for name in config.eval.get("metrics", ())]
    if not makers:
        return scoring

    def make_options() -> dict[str, Any]:
        more = [make(config, data) for make in makers]
        return {**scoring.make_options(), "more_metrics": more, "decode_fn": data.codec.decode}

    return replace(scoring, make_options=make_options)


def synthetic_notice(config: Any) -> tuple[str, ...]:
    """Return the sentence on scores of synthetic data, where they are synthetic."""
    return (NOTICE,) if is_synthetic(config) else ()


def check_source(config: Any, tokens: TokenShards, source: Any) -> None:
    """Raise a ValueError unless tokens were made of the data that their scores compare with.

    Args:
        config: The whole configuration.
        tokens: What was prepared.
        source: What there is now: a ``Source`` of images, or ``Segments`` of dances.
    """
    plan = tokens.plan
    if plan.source_fingerprint != source.fingerprint:
        raise ValueError(
            f"path = {config.data.path} holds other data than the tokens in {tokens.folder} were "
            f"made of ({len(source)} of {source.name} now, {plan.num_images} of {plan.source} "
            "then); give the path that they were prepared from, or another data.tokens"
        )


def make_codebook(config: Any, data: TokenData) -> Metric:
    """Make the metric of how many of the K tokens are used."""
    return codebook_metric(data.codec.vocab_size)


def make_classifier(config: Any, data: TokenData) -> Metric:
    """Make the metric of a classifier that is fitted to training examples, decoded if in colour.

    Raises:
        ValueError: If they have no classes.
    """
    labels = data.train.cond
    if len(data.class_names) < 2 or not isinstance(labels, np.ndarray) or labels.ndim != 1:
        raise ValueError(
            'metrics: "classifier" needs examples of two or more classes; leave it out'
        )
    fitted = evenly_spaced(len(data.train), MAX_FITTED)
    tokens, labels = data.train.take(fitted), labels[fitted]
    if np.asarray(data.codec.decode(tokens[:1])).ndim < 4:
        return classifier_metric(token_classifier(tokens, labels))
    pieces = np.array_split(np.arange(len(fitted)), -(-len(fitted) // 100))
    decoded = ((np.asarray(data.codec.decode(tokens[rows])), labels[rows]) for rows in pieces)
    return classifier_metric(image_classifier(decoded))


register("metric", "codebook", make_codebook)
register("metric", "classifier", make_classifier)
