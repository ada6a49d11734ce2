"""Sampling for an evaluation, batch by batch."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array

from cdcd_jax.data.batch import take_rows
from cdcd_jax.evaluation.batches import even_batches, own_share
from cdcd_jax.typing import PRNGKey

SampleFn: TypeAlias = Callable[[Array, Any, int, float], Any]
"""``sample_fn(key, cond, num_steps, truncation) -> tokens [batch length]``; best jitted for each
``num_steps`` and ``truncation``."""


class Clock:
    """Add up the time of batches, and of those after the first, which is compiled."""

    def __init__(self):
        self.seconds, self.later_seconds, self.later_count, self.started = 0.0, 0.0, 0, False

    def add(self, seconds: float, count: int) -> None:
        """Add a batch of so many examples."""
        self.seconds += seconds
        if self.started:
            self.later_seconds += seconds
            self.later_count += count
        self.started = True

    def read(self) -> dict[str, float | None]:
        """Return ``seconds`` of all batches, ``seconds_per_sample`` of those after the first."""
        per_sample = self.later_seconds / self.later_count if self.later_count else None
        return {"seconds": self.seconds, "seconds_per_sample": per_sample}


def draw_samples(
    key: PRNGKey,
    sample_fn: SampleFn,
    num_samples: int,
    conds: Any,
    *,
    num_steps: int,
    truncation: float,
    length: int,
    batch_size: int,
    progress: bool,
    clock: Clock,
    on_samples: Callable[[np.ndarray, int], None] | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw samples in batches of one size, on all hosts together.

    Args:
        key: Random key.
        sample_fn: Draws tokens for conditions.
        num_samples: How many.
        conds: [num_samples ...] a condition for each.
        num_steps: Number of sampling steps.
        truncation: Truncation rate.
        length: Positions of a sample.
        batch_size: Samples at once.
        progress: Whether to show a progress bar.
        clock: Adds up the time.
        on_samples: Called with the tokens of each batch of all hosts, and how many of them count.

    Yields:
        This host's tokens of a batch, and which of the conditions they were drawn for.

    Raises:
        ValueError: If ``sample_fn`` returns another shape.
    """
    share = own_share(num_samples, batch_size)
    title = f"samples, {num_steps} steps, truncation {truncation:g}"
    for index, rows, count in even_batches(num_samples, batch_size, title, progress):
        start = time.perf_counter()
        key_of_batch = jax.random.fold_in(key, index)
        tokens = np.asarray(sample_fn(key_of_batch, take_rows(conds, rows), num_steps, truncation))
        clock.add(time.perf_counter() - start, count)
        if tokens.shape != (len(rows), length):
            raise ValueError(
                f"sample_fn must return tokens of shape {(len(rows), length)}, got {tokens.shape}"
            )
        if on_samples is not None:
            on_samples(tokens, count)
        own = share.of_batch(index)
        if len(own):
            yield tokens[share.rows][: len(own)], own
