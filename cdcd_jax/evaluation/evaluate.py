"""Evaluation of a conditional generator: the bound, and metrics of its samples.

The samples' scores are accompanied by those of the real test examples, as an upper bound, and by
those of the samples under shuffled labels, as the level of chance.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from cdcd_jax.data.batch import Examples, take_rows
from cdcd_jax.evaluation.batches import even_batches, own_share
from cdcd_jax.evaluation.bits import BoundFn, measure_bits
from cdcd_jax.evaluation.metrics.images.classifier import classifier_metric, token_classifier
from cdcd_jax.evaluation.metrics.metric import Metric, RawExamples, score_examples
from cdcd_jax.evaluation.requests import SampleRequests
from cdcd_jax.evaluation.sampling import Clock, SampleFn, draw_samples
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.typing import PRNGKey

DecodeFn: TypeAlias = Callable[[np.ndarray], Any]
"""Tokens [batch length] -> images [batch height width 3], 0..1, or sound [batch samples]."""

Stream: TypeAlias = Iterator[tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]]
"""What ``score_examples`` takes."""


def evaluate(
    key: PRNGKey,
    *,
    bound_fn: BoundFn,
    sample_fn: SampleFn,
    train: Examples,
    test: Examples,
    by_example: bool = False,
    requests: SampleRequests | None = None,
    metrics: Sequence[Metric] | None = None,
    more_metrics: Sequence[Metric] = (),
    decode_fn: DecodeFn | None = None,
    raw: RawExamples | None = None,
    on_samples: Callable[[np.ndarray, int], None] | None = None,
    num_samples: int = 500,
    num_steps: Sequence[int],
    truncations: Sequence[float] = (0.86, 1.0),
    batch_size: int = 100,
    num_real: int = 50_000,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a generator on held-out examples and by its samples.

    Samples are drawn for every number of steps with every truncation, with the classes in turn, or
    the test examples' captions, and the same keys each time. Nothing is kept, so there may be
    millions of them. All hosts draw the same batches together, and each looks at its own rows of
    them; every number is that of a single host.

    Args:
        key: Random key.
        bound_fn: Scores clean tokens. On many hosts, all call it with the same, and get all values.
        sample_fn: Draws tokens for labels; likewise.
        train: Real training examples.
        test: Held-out examples.
        by_example: Whether ``cond`` is a caption or a dance for each example, not its class. What
            metrics take for the label is then the number of the test example whose caption or dance
            was requested.
        requests: With ``by_example``, conditions to draw samples for in place of the test
            examples' own; the label is then the number of the request.
        metrics: What scores the samples; None for a classifier of tokens, fitted to ``train``.
        more_metrics: What scores them besides.
        decode_fn: The codec's decoder, for metrics of images or sound.
        raw: Held-out images or music that never went through the codec.
        on_samples: ``on_samples(tokens, count)`` is called with the tokens of each batch of the
            main setting, of all hosts, in order; the first ``count`` are samples.
        num_samples: Samples for each setting, >= 2.
        num_steps: Numbers of sampling steps; the first is the main one.
        truncations: Truncation rates in (0, 1], 1 for none; the first is the main one.
        batch_size: Examples at once, in bound and samples alike; every call has this size.
        num_real: At most so many real examples of each set, spread over it, >= 2.
        progress: Whether to show progress bars.

    Returns:
        Plain numbers, ready for JSON: ``bits_per_token`` of the test set with its standard error
        over examples (``bits_per_token_error``), by example also ``bits_per_token_shuffled``,
        those under the caption or dance of another; the scores of the main setting, such as
        ``accuracy`` (0..1) and ``frechet_distance``; and ``rows``: one dict for the raw test
        examples if given, for the real test examples, for each setting, and for the main setting's
        samples against shuffled labels, with ``name``, ``num_samples``, ``num_steps``,
        ``truncation``, the scores, ``seconds`` (compilation included) and ``seconds_per_sample``
        (without the first batch, which compiles), both of drawing on all hosts.

    Raises:
        ValueError: If a number is out of range, ``sample_fn`` returns another shape, or a metric
            is of images or sound and ``decode_fn`` is not given.
    """
    _check(num_samples, num_steps, truncations, batch_size, num_real)
    if metrics is None and by_example:
        raise ValueError("metrics are needed, as there are no classes for a classifier to learn")
    if metrics is None:
        fitted = evenly_spaced(len(train), num_real)
        metrics = [classifier_metric(token_classifier(train.take(fitted), train.cond[fitted]))]
    metrics = [*metrics, *more_metrics]
    make_inputs = _input_maker(metrics, decode_fn)
    bound_key, sample_key, shuffle_key = jax.random.split(key, 3)
    real = evenly_spaced(len(test), num_real)
    bounds = _bounds(bound_key, bound_fn, test, real, by_example, batch_size, progress)
    if by_example and requests is None:
        requests = SampleRequests(test.cond, np.arange(len(test)))
    test_labels = test.cond if requests is None else requests.of_example
    real_rows = _real_rows(
        metrics, make_inputs, test, test_labels, real, raw, by_example, batch_size, progress
    )
    if requests is None:
        labels = conds = np.resize(np.unique(train.cond), num_samples)
    else:
        labels = np.resize(evenly_spaced(requests.num_requests, num_samples), num_samples)
        conds = take_rows(requests.cond, labels)
    shuffled = np.asarray(jax.random.permutation(shuffle_key, labels))
    verdicts = []
    for steps in num_steps:
        for truncation in truncations:
            clock = Clock()
            drawn = draw_samples(
                sample_key,
                sample_fn,
                num_samples,
                conds,
                num_steps=steps,
                truncation=truncation,
                length=train.length,
                batch_size=batch_size,
                progress=progress,
                clock=clock,
                on_samples=None if verdicts else on_samples,
            )
            right, chance = score_examples(
                metrics,
                own_share(num_samples, batch_size),
                ((make_inputs(tokens), (labels[at], shuffled[at])) for tokens, at in drawn),
                num_labellings=2,
                name_of=lambda place: f"sample {place} of {num_samples}",
            )
            setting = {"num_steps": steps, "truncation": truncation} | clock.read()
            verdicts.append((setting, right, chance))
    setting, main, chance = verdicts[0]
    return {
        **bounds,
        "num_test_examples": len(real),
        **main,
        "rows": [
            *real_rows,
            *(_row("samples", num_samples, right, **how) for how, right, _ in verdicts),
            _row("samples, labels shuffled", num_samples, chance, **setting),
        ],
    }


def _bounds(
    key: PRNGKey,
    bound_fn: BoundFn,
    test: Examples,
    chosen: np.ndarray,
    by_example: bool,
    batch_size: int,
    progress: bool,
) -> dict[str, float]:
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    bits, error = measure_bits(key, bound_fn, test, chosen, **options)
    found = {"bits_per_token": bits, "bits_per_token_error": error}
    if not by_example:
        return found
    # Shifted by half of the set, no example keeps its own caption or dance.
    others = np.roll(chosen, len(chosen) // 2)
    shuffled, _ = measure_bits(key, bound_fn, test, chosen, cond_of=others, **options)
    return found | {"bits_per_token_shuffled": shuffled}


def _input_maker(
    metrics: Sequence[Metric], decode_fn: DecodeFn | None
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return what turns tokens into all that the metrics look at, and no more."""
    decoded = {metric.inputs for metric in metrics} - {"tokens"}
    if decoded and decode_fn is None:
        raise ValueError(f"decode_fn is needed, as some metrics are for {', '.join(decoded)}")

    def make_inputs(tokens: np.ndarray) -> dict[str, np.ndarray]:
        if not decoded or decode_fn is None:
            return {"tokens": tokens}
        return {"tokens": tokens} | dict.fromkeys(decoded, np.asarray(decode_fn(tokens)))

    return make_inputs


def _real_rows(
    metrics: Sequence[Metric],
    make_inputs: Callable[[np.ndarray], dict[str, np.ndarray]],
    test: Examples,
    test_labels: np.ndarray,
    chosen: np.ndarray,
    raw: RawExamples | None,
    by_example: bool,
    batch_size: int,
    progress: bool,
) -> list[dict[str, Any]]:
    rows, name = [], "real test examples"
    if raw is not None:
        name = "real, through the codec"
        seeing = [metric for metric in metrics if metric.inputs == raw.inputs]
        batches = raw.batches(batch_size, progress)
        stream = (
            # By example, raw examples are numbered as the test examples that were made of them.
            ({raw.inputs: batch}, (test_labels[numbers] if by_example else numbers,))
            for batch, numbers in batches
        )
        share = own_share(raw.num_examples, batch_size)
        (scores,) = score_examples(seeing, share, stream, name_of=raw.name_of)
        rows.append(_row(raw.name, raw.num_examples, scores))

    share = own_share(len(chosen), batch_size)

    def encoded() -> Stream:
        for index, at, _ in even_batches(len(chosen), batch_size, name, progress):
            # Whole batches, since the decoder is compiled for their size.
            own = share.of_batch(index)
            if len(own):
                inputs = make_inputs(test.take(chosen[at[share.rows]]))
                own_inputs = {kind: batch[: len(own)] for kind, batch in inputs.items()}
                yield own_inputs, (test_labels[chosen[own]],)

    (scores,) = score_examples(
        metrics,
        share,
        encoded(),
        name_of=lambda place: f"test example {chosen[place]}, decoded from its tokens,",
    )
    return [*rows, _row(name, len(chosen), scores)]


def _row(name: str, num_samples: int, scores: dict[str, float], **more: Any) -> dict[str, Any]:
    none = dict.fromkeys(("num_steps", "truncation", "seconds", "seconds_per_sample"))
    return {"name": name, "num_samples": num_samples, **none, **scores, **more}


def _check(
    num_samples: int,
    num_steps: Sequence[int],
    truncations: Sequence[float],
    batch_size: int,
    num_real: int,
) -> None:
    for name, value in {"num_samples": num_samples, "num_real": num_real}.items():
        if value < 2:
            raise ValueError(f"{name} must be at least 2, got {value}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not num_steps or min(num_steps) < 1:
        raise ValueError(f"num_steps must be one or more numbers of at least 1, got {num_steps}")
    if not truncations or not all(0.0 < rate <= 1.0 for rate in truncations):
        raise ValueError(f"truncations must be one or more rates in (0, 1], got {truncations}")
