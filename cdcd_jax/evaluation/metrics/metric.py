"""The interface of a metric, and computing several at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from cdcd_jax.evaluation.batches import Share
from cdcd_jax.evaluation.hosts import merge_hosts


class EvaluationError(ValueError):
    """An error that ends an evaluation, with one sentence for the user."""


Inputs = Literal["tokens", "images", "audio"]


class Metric(NamedTuple):
    """A streaming score as pure functions, which needs no examples kept or gathered on one host.

    Attributes:
        inputs: Whether it is of ``tokens`` [batch length], ``images`` [batch height width] or
            [batch height width 3], float32, values 0..1, or ``audio`` [batch samples], float32,
            values -1..1, 22,050 Hz.
        extract: ``extract(batch) -> features``, the expensive part; independent of the labels.
        init: ``init(share) -> state``, before the examples of this host's share.
        update: ``update(state, features, labels) -> state``.
        merge: ``merge(state, state) -> state`` of the examples of both.
        result: ``result(state) -> {key: number}``.
        uses_labels: Whether the result depends on the labels.
    """

    inputs: Inputs
    extract: Callable[[np.ndarray], Any]
    init: Callable[[Share], Any]
    update: Callable[[Any, Any, np.ndarray], Any]
    merge: Callable[[Any, Any], Any]
    result: Callable[[Any], dict[str, float]]
    uses_labels: bool = True


class RawExamples(NamedTuple):
    """Real examples that never went through the codec.

    Attributes:
        name: What the table calls them.
        inputs: What they are: ``images`` or ``audio``.
        num_examples: How many.
        batches: ``batches(batch_size, progress) -> pairs`` of examples and labels, this host's
            share of each batch.
        name_of: Says which example is in a place, for messages.
    """

    name: str
    inputs: Inputs
    num_examples: int
    batches: Callable[[int, bool], Iterable[tuple[np.ndarray, np.ndarray]]]
    name_of: Callable[[int], str] = lambda place: f"real example {place}"


def score_examples(
    metrics: Sequence[Metric],
    share: Share,
    batches: Iterable[tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]],
    *,
    num_labellings: int = 1,
    name_of: Callable[[int], str] = lambda place: f"example {place}",
) -> list[dict[str, float]]:
    """Run several metrics over a stream of examples.

    Args:
        metrics: The metrics.
        share: Which examples of the set are in this host's stream.
        batches: Pairs of inputs by name, ``tokens``, ``images``, ``audio``, and of labels [batch],
            one array for each labelling.
        num_labellings: How many labels each example has; each gives a result of its own, but
            features, and metrics without labels, are computed once.
        name_of: Says which example is in a place of the set, for messages.

    Returns:
        For each labelling the results of all metrics together, of the examples of all hosts.

    Raises:
        EvaluationError: If an image or its features are not finite; the sentence names it.
    """
    # Of a metric that does not use labels there is one state, for all labellings.
    counts = [num_labellings if metric.uses_labels else 1 for metric in metrics]
    states = [
        [metric.init(share) for _ in range(count)]
        for metric, count in zip(metrics, counts, strict=True)
    ]
    done = 0
    for inputs, labellings in batches:
        places = share.places(done, len(labellings[0]))
        done += len(places)
        for metric, own in zip(metrics, states, strict=True):
            examples = inputs[metric.inputs]
            features = metric.extract(examples)
            if metric.inputs == "images":
                for leaf in jax.tree.leaves((examples, features)):
                    check_finite(leaf, examples, places, name_of)
            for index, labels in zip(range(len(own)), labellings, strict=False):
                own[index] = metric.update(own[index], features, labels)
    results = [{} for _ in range(num_labellings)]
    for metric, own in zip(metrics, states, strict=True):
        found = [metric.result(merge_hosts(metric.merge, state)) for state in own]
        for index, result in enumerate(results):
            result |= found[index % len(found)]
    return results


def check_finite(
    features: np.ndarray,
    examples: np.ndarray,
    places: np.ndarray,
    name_of: Callable[[int], str],
) -> None:
    """Check the features of a batch.

    Args:
        features: [batch ...] numbers.
        examples: [batch ...] what they were computed from.
        places: [batch] places of the examples in their set.
        name_of: Says which example is in a place.

    Raises:
        EvaluationError: If a feature is not finite. Names the first such example, and says whether
            the example or the network is to blame.
    """
    finite = np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if finite.all():
        return
    row = int(np.argmin(finite))
    cause = "although the example is finite: look at the weights of the network that computes them"
    if not np.isfinite(examples[row]).all():
        cause = "since the example itself is not: look at the codec that decodes it"
    count = int((~finite).sum())
    others = f" and {count - 1} more of its batch" if count > 1 else ""
    name = name_of(int(places[row]))
    raise EvaluationError(f"the features of {name}{others} are not finite, {cause}")
