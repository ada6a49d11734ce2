"""The bound of held-out examples in bits per token."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array

from cdcd_jax.data.batch import Examples, take_rows
from cdcd_jax.evaluation.batches import even_batches
from cdcd_jax.evaluation.metrics.images.frechet import init_moments, update_moments
from cdcd_jax.typing import PRNGKey

BoundFn: TypeAlias = Callable[[Array, np.ndarray, Any], Any]
"""``bound_fn(key, z0, cond) -> [batch]``, the bound on -log p(z0 | cond) in nats; best jitted."""


def measure_bits(
    key: PRNGKey,
    bound_fn: BoundFn,
    examples: Examples,
    chosen: np.ndarray | None = None,
    *,
    cond_of: np.ndarray | None = None,
    batch_size: int = 100,
    progress: bool = True,
) -> tuple[float, float]:
    """Average the full variational bound over a set of examples.

    All hosts go through the same batches together; ``bound_fn`` shares their rows.

    Args:
        key: Random key.
        bound_fn: Scores clean tokens; gives all hosts the values of all of them.
        examples: The set.
        chosen: Numbers of the examples to take; all if None.
        cond_of: Numbers of the examples whose conditions these get; their own if None.
        batch_size: Examples at once; every call has this size.
        progress: Whether to show a progress bar.

    Returns:
        Bits per token, and their standard error over the examples.
    """
    chosen = np.arange(len(examples)) if chosen is None else chosen
    cond_of = chosen if cond_of is None else cond_of
    cond, moments = examples.cond, init_moments(1)
    for index, rows, count in even_batches(len(chosen), batch_size, "bound", progress):
        key_of_batch = jax.random.fold_in(key, index)
        nats = bound_fn(key_of_batch, examples.take(chosen[rows]), take_rows(cond, cond_of[rows]))
        moments = update_moments(moments, np.asarray(nats)[:count, None])
    bits = 1 / (examples.length * np.log(2.0))
    variance = moments.scatter[0, 0] / moments.num_examples
    error = np.sqrt(variance / moments.num_examples)
    return float(moments.mean[0] * bits), float(error * bits)
