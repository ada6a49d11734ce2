"""What scores examples as they stream by: the interface, and running several at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from cdcd_jax.evaluation.batches import Share
from cdcd_jax.evaluation.hosts import merge_hosts

Sight = Literal["tokens", "pictures", "audio"]


class Scorer(NamedTuple):
    """A score as pure functions, so that examples need not be kept nor be on one host.

    Attributes:
        sees: Whether it looks at ``tokens`` [batch length], ``pictures`` [batch height width] or
            [batch height width 3], float32, values 0..1, or ``audio`` [batch samples], float32,
            values -1..1, 22,050 Hz.
        look: ``look(batch) -> seen``, the expensive part; does not know the labels.
        init: ``init(share) -> state``, before the examples of this host's share.
        update: ``update(state, seen, labels) -> state``.
        merge: ``merge(state, state) -> state`` of the examples of both.
        result: ``result(state) -> {key: number}``.
    """

    sees: Sight
    look: Callable[[np.ndarray], Any]
    init: Callable[[Share], Any]
    update: Callable[[Any, Any, np.ndarray], Any]
    merge: Callable[[Any, Any], Any]
    result: Callable[[Any], dict[str, float]]


class RawExamples(NamedTuple):
    """Real examples that never went through the codec.

    Attributes:
        name: What the table calls them.
        sees: What they are: ``pictures`` or ``audio``.
        num_examples: How many.
        batches: ``batches(batch_size, progress) -> pairs`` of examples and labels, this host's
            share of each batch.
    """

    name: str
    sees: Sight
    num_examples: int
    batches: Callable[[int, bool], Iterable[tuple[np.ndarray, np.ndarray]]]


def score_examples(
    scorers: Sequence[Scorer],
    share: Share,
    batches: Iterable[tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]],
    *,
    num_labellings: int = 1,
) -> list[dict[str, float]]:
    """Run several scorers over a stream of examples.

    Args:
        scorers: The scorers.
        share: Which examples of the set are in this host's stream.
        batches: Pairs of what there is to look at, ``tokens``, ``pictures``, ``audio``, and of
            labels [batch], once for each labelling.
        num_labellings: How many labels each example has; each gives a result of its own, but the
            examples are looked at once.

    Returns:
        For each labelling the results of all scorers together, of the examples of all hosts.
    """
    states = [[scorer.init(share) for scorer in scorers] for _ in range(num_labellings)]
    for inputs, labellings in batches:
        for index, scorer in enumerate(scorers):
            seen = scorer.look(inputs[scorer.sees])
            for state, labels in zip(states, labellings, strict=True):
                state[index] = scorer.update(state[index], seen, labels)
    results = []
    for state in states:
        result = {}
        for scorer, own in zip(scorers, state, strict=True):
            result |= scorer.result(merge_hosts(scorer.merge, own))
        results.append(result)
    return results
