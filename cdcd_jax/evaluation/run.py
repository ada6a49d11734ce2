"""Score a conditional generator of pictures: the bound, the judge's verdict, the Frechet distance.

Beside the samples' scores stand those of the real test examples, which say what a score is worth,
and those of the samples under shuffled labels, which say what chance would give.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array
from tqdm import tqdm

from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.evaluation.classifier import Judge
from cdcd_jax.evaluation.frechet import (
    Moments,
    frechet_distance,
    init_moments,
    update_moments,
)
from cdcd_jax.typing import PRNGKey

BoundFn: TypeAlias = Callable[[Array, np.ndarray, np.ndarray], Any]
"""``bound_fn(key, z0, cond) -> [batch]``, the bound on -log p(z0 | cond) in nats; best jitted."""

SampleFn: TypeAlias = Callable[[Array, np.ndarray, int, float], Any]
"""``sample_fn(key, labels, num_steps, truncation) -> tokens [batch length]``; best jitted for each
``num_steps`` and ``truncation``."""


def evaluate(
    key: PRNGKey,
    *,
    bound_fn: BoundFn,
    sample_fn: SampleFn,
    train: TokenExamples,
    test: TokenExamples,
    num_samples: int = 500,
    num_steps: Sequence[int],
    truncations: Sequence[float] = (0.86, 1.0),
    batch_size: int = 100,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a generator on held-out examples and by its samples.

    Samples are drawn for every number of steps with every truncation, with the classes in turn and
    the same keys each time. The judge has seen the real training examples only; the Frechet
    distance is measured to these, in the judge's features.

    Args:
        key: Random key.
        bound_fn: Scores clean tokens.
        sample_fn: Draws tokens for labels.
        train: Real training examples, ``cond`` their classes.
        test: Held-out examples, ``cond`` their classes.
        num_samples: Samples for each setting, >= 2.
        num_steps: Numbers of sampling steps; the first is the main one.
        truncations: Truncation rates in (0, 1], 1 for none; the first is the main one.
        batch_size: Examples at once, in bound and samples alike; every call has this size.
        progress: Whether to show progress bars.

    Returns:
        Plain numbers, ready for JSON: ``bits_per_token`` of the test set with its standard error
        over examples (``bits_per_token_error``); ``accuracy`` (0..1) and ``frechet_distance`` of
        the main setting; ``rows``, one dict for the real test examples, for each setting and for
        the main setting's samples against shuffled labels, with ``name``, ``num_samples``,
        ``num_steps``, ``truncation``, ``accuracy``, ``frechet_distance``, ``seconds`` (compilation
        included) and ``seconds_per_sample`` (without the first batch, which compiles).

    Raises:
        ValueError: If a number is out of range, or ``sample_fn`` returns another shape.
    """
    _check(num_samples, num_steps, truncations, batch_size)
    judge = Judge(train.tokens, train.cond)
    reference = _moments(judge, train.tokens)
    bound_key, sample_key, shuffle_key = jax.random.split(key, 3)
    bits, bits_error = measure_bits(
        bound_key, bound_fn, test, batch_size=batch_size, progress=progress
    )
    rows = [_judge_row("real test examples", judge, reference, test.tokens, test.cond)]
    labels = np.resize(np.unique(train.cond), num_samples)
    drawn = []
    for steps in num_steps:
        for truncation in truncations:
            tokens, timing = _draw(
                sample_key,
                sample_fn,
                labels,
                num_steps=steps,
                truncation=truncation,
                length=train.tokens.shape[1],
                batch_size=batch_size,
                progress=progress,
            )
            verdict = _judge_row("samples", judge, reference, tokens, labels)
            rows.append(verdict | {"num_steps": steps, "truncation": truncation} | timing)
            drawn.append(tokens)
    shuffled = np.asarray(jax.random.permutation(shuffle_key, labels))
    rows.append(
        rows[1]
        | {"name": "samples, labels shuffled", "accuracy": judge.accuracy(drawn[0], shuffled)}
    )
    return {
        "bits_per_token": bits,
        "bits_per_token_error": bits_error,
        "num_test_examples": len(test),
        "accuracy": rows[1]["accuracy"],
        "frechet_distance": rows[1]["frechet_distance"],
        "rows": rows,
    }


def measure_bits(
    key: PRNGKey,
    bound_fn: BoundFn,
    examples: TokenExamples,
    *,
    batch_size: int = 100,
    progress: bool = True,
) -> tuple[float, float]:
    """Average the full variational bound over a set of examples.

    Args:
        key: Random key.
        bound_fn: Scores clean tokens.
        examples: The set.
        batch_size: Examples at once; every call has this size.
        progress: Whether to show a progress bar.

    Returns:
        Bits per token, and their standard error over the examples.
    """
    nats = np.concatenate(
        [
            np.asarray(
                bound_fn(jax.random.fold_in(key, index), examples.tokens[rows], examples.cond[rows])
            )[:count]
            for index, (rows, count) in enumerate(
                _even_batches(len(examples), batch_size, "bound", progress)
            )
        ]
    )
    bits = nats.astype(np.float64) / (examples.tokens.shape[1] * np.log(2.0))
    return float(bits.mean()), float(bits.std() / np.sqrt(len(bits)))


def format_table(result: dict[str, Any]) -> str:
    """Lay the result of ``evaluate`` out as a table to print.

    Args:
        result: What ``evaluate`` returned.

    Returns:
        Lines of text.
    """

    def show(value: float | int | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [
        f"{result['num_test_examples']} held-out examples: {result['bits_per_token']:.4f} "
        f"± {result['bits_per_token_error']:.4f} bits per token",
        f"{'':<25}{'steps':>6}{'truncation':>12}{'samples':>9}{'accuracy':>10}{'Frechet':>9}"
        f"{'seconds':>9}{'ms/sample':>11}",
    ]
    for row in result["rows"]:
        per_sample = row["seconds_per_sample"]
        lines.append(
            f"{row['name']:<25}{show(row['num_steps'], 'd'):>6}"
            f"{show(row['truncation'], '.2f'):>12}{row['num_samples']:>9}"
            f"{row['accuracy']:>10.1%}{row['frechet_distance']:>9.2f}"
            f"{show(row['seconds'], '.1f'):>9}"
            f"{show(None if per_sample is None else 1000 * per_sample, '.1f'):>11}"
        )
    return "\n".join(lines)


def _draw(
    key: PRNGKey,
    sample_fn: SampleFn,
    labels: np.ndarray,
    *,
    num_steps: int,
    truncation: float,
    length: int,
    batch_size: int,
    progress: bool,
) -> tuple[np.ndarray, dict[str, float | None]]:
    """Return tokens for all labels, and how long they took."""
    batches, marks = [], [time.perf_counter()]
    title = f"samples, {num_steps} steps, truncation {truncation:g}"
    for index, (rows, count) in enumerate(_even_batches(len(labels), batch_size, title, progress)):
        key_of_batch = jax.random.fold_in(key, index)
        tokens = np.asarray(sample_fn(key_of_batch, labels[rows], num_steps, truncation))
        if tokens.shape != (len(rows), length):
            raise ValueError(
                f"sample_fn must return tokens of shape {(len(rows), length)}, got {tokens.shape}"
            )
        batches.append(tokens[:count])
        marks.append(time.perf_counter())
    later = sum(len(batch) for batch in batches[1:])
    return np.concatenate(batches), {
        "seconds": marks[-1] - marks[0],
        "seconds_per_sample": (marks[-1] - marks[1]) / later if later else None,
    }


def _judge_row(
    name: str, judge: Judge, reference: Moments, tokens: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    return {
        "name": name,
        "num_samples": len(tokens),
        "num_steps": None,
        "truncation": None,
        "accuracy": judge.accuracy(tokens, labels),
        "frechet_distance": frechet_distance(_moments(judge, tokens), reference),
        "seconds": None,
        "seconds_per_sample": None,
    }


def _moments(judge: Judge, tokens: np.ndarray, batch_size: int = 1000) -> Moments:
    parts = [judge.features(tokens[i : i + batch_size]) for i in range(0, len(tokens), batch_size)]
    moments = init_moments(parts[0].shape[1])
    for features in parts:
        moments = update_moments(moments, features)
    return moments


def _even_batches(
    total: int, batch_size: int, title: str, progress: bool
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield indices of equal number, so that one compiled function serves them all.

    The last batch goes on at the start of the set; the count says how many of it are new.
    """
    starts = range(0, total, batch_size)
    for start in tqdm(starts, desc=title, unit="batch", disable=not progress):
        yield np.arange(start, start + batch_size) % total, min(batch_size, total - start)


def _check(
    num_samples: int, num_steps: Sequence[int], truncations: Sequence[float], batch_size: int
) -> None:
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2, got {num_samples}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not num_steps or min(num_steps) < 1:
        raise ValueError(f"num_steps must be one or more numbers of at least 1, got {num_steps}")
    if not truncations or not all(0.0 < rate <= 1.0 for rate in truncations):
        raise ValueError(f"truncations must be one or more rates in (0, 1], got {truncations}")
