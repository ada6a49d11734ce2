"""Evaluation of a generator, on the data of a run or on given arrays."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from cdcd_jax.checks import check_count
from cdcd_jax.data.batch import Examples, TokenExamples
from cdcd_jax.evaluation import evaluate as engine
from cdcd_jax.evaluation.metrics.metric import Metric
from cdcd_jax.generator import Generator
from cdcd_jax.registry import METRICS
from cdcd_jax.tasks import scoring  # noqa: F401  which registers metrics
from cdcd_jax.tasks.token_data import TokenData
from cdcd_jax.training.sampling_options import check_seed


def evaluate(
    generator: Generator,
    data: Any,
    request: Any,
    *,
    metrics: Any = ("codebook",),
    train: tuple[Any, Any] | None = None,
    num_samples: Any = None,
    num_steps: int | None = None,
    truncation: float | None = None,
    batch_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate a generator on given examples; the data of its training are not needed.

    ``--mode=evaluate`` does the same with the held-out data of a run, so on the same examples,
    with the same seed and batch size, both give the same numbers.

    Args:
        generator: A trained model.
        data: Held-out examples as ``Generator.encode`` takes them, such as images
            [batch height width 3].
        request: One class or text for each, or one for all; of a model of dances, a dict of
            windows with a row for each.
        metrics: Scores of samples: names in the table of metrics (``"codebook"``, for a model of
            classes ``"classifier"``, and what ``register("metric", ...)`` added), or metrics;
            one or several.
        train: Data and requests that a classifier is fitted to; the held-out examples if None.
        num_samples: Samples that are scored; as many as there are examples if None.
        num_steps: Number of sampling steps; that of the generator if None.
        truncation: Truncation rate, likewise.
        batch_size: Examples and samples at once.
        seed: Seed of bound and samples.
        progress: Whether to show progress bars.

    Returns:
        ``bits_per_token`` with its standard error over examples (``bits_per_token_error``), the
        scores of the samples by name, and ``rows``: those of the real examples, of the samples,
        and of the samples against shuffled requests.

    Raises:
        ValueError: If data and requests do not fit the model or each other, or there is no such
            metric.

    Example:
        >>> generator = cdcd.load("runs/digits_sample_inter")  # doctest: +SKIP
        >>> cdcd.evaluate(generator, images, labels)["bits_per_token"]  # doctest: +SKIP
    """
    check_seed(seed)
    if num_samples is not None:
        check_count("num_samples", num_samples)
    makers = _find_metrics(metrics)
    test = _examples(generator, data, request)
    known = TokenData(
        codec=generator.codec,
        train=test if train is None else _examples(generator, *train),
        test=test,
        class_names=tuple(generator.conditioning.facts()["class_names"]),
    )
    sampling = {"num_steps": num_steps, "truncation": truncation}
    given = {name: value for name, value in sampling.items() if value is not None}
    generator.check(**given)
    options = {**generator.sampling, **given}
    return evaluate_generator(
        generator,
        seed=seed,
        train=known.train,
        test=test,
        metrics=[
            one if isinstance(one, Metric) else one(generator.config, known) for one in makers
        ],
        decode_fn=generator.codec.decode,
        num_samples=len(test) if num_samples is None else num_samples,
        num_steps=(options["num_steps"],),
        truncations=(options["truncation"],),
        batch_size=batch_size,
        progress=progress,
    )


def _find_metrics(metrics: Any) -> list[Any]:
    """Find metrics by their names; a single one is taken as well."""
    several = [metrics] if isinstance(metrics, str | Metric) else metrics
    if not isinstance(several, Sequence) or not all(
        isinstance(one, str | Metric) for one in several
    ):
        raise ValueError(
            f"metrics = {metrics!r} must be names of metrics ({', '.join(METRICS)}) or metrics"
        )
    return [METRICS.find(one, "metrics") if isinstance(one, str) else one for one in several]


def evaluate_generator(
    generator: Generator, *, seed: int, train: Examples, test: Examples, **options: Any
) -> dict[str, Any]:
    """Evaluate a generator on sets of examples.

    Args:
        generator: A trained model; options of sampling that an evaluation does not vary are its.
        seed: Seed of bound and samples.
        train: Real training examples.
        test: Held-out examples.
        **options: More of ``evaluation.evaluate.evaluate``.

    Returns:
        What that returns.
    """

    def draw(key: Any, cond: Any, num_steps: int, truncation: float) -> Any:
        return generator.draw(key, cond, num_steps=num_steps, truncation=truncation)

    return engine.evaluate(
        jax.random.key(seed),
        bound_fn=generator.bound,
        sample_fn=draw,
        train=train,
        test=test,
        by_example=generator.conditioning.by_example,
        **options,
    )


def _examples(generator: Generator, data: Any, request: Any) -> TokenExamples:
    tokens = generator.encode(data)
    cond = generator.conditioning.encode_each(request, len(tokens))
    return TokenExamples(tokens=tokens, cond=cond, group=np.arange(len(tokens)))
