"""Orbax set up to keep what this package decides, and to read silently on each host alone."""

import gc
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp


# Orbax types its policies' arguments by a protocol that its own policies do not meet, hence Any.
def every_save() -> Any:
    """Save whenever called: the loop chooses the steps."""
    return ocp.training.save_decision_policies.FixedIntervalPolicy(1)


def newest_and_best(keep: int) -> Any:
    """Keep so many of the newest checkpoints, and the one with the lowest loss."""
    policies = ocp.training.preservation_policies
    best = policies.BestN(
        get_metric_fn=lambda metrics: metrics["loss"],
        reverse=True,  # Orbax keeps the last ones.
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return policies.AnyPreservationPolicy([policies.LatestN(keep), best])


@contextmanager
def reading_alone(*, partly: bool = False) -> Iterator[None]:
    """Read on each host without waiting for the others, which would wait for a failing one.

    Args:
        partly: Whether some of the arrays of a checkpoint are read and not all.
    """
    alone, index = ocp.Context(), jax.process_index()
    alone.pytree.loading.partial_load = partly
    if jax.process_count() > 1:
        alone.multiprocessing.primary_host = index
        alone.multiprocessing.active_processes = {index}
    with alone:
        yield


@contextmanager
def without_stray_messages() -> Iterator[None]:
    """Drop what Orbax's abandoned reads print after one of them failed; the failure is raised."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    # asyncio logs the abandoned task's failure, and absl logs every failure of Orbax twice.
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            gc.collect()
    except Exception:
        hook = hook if isinstance(hook, _WithoutLateReads) else _WithoutLateReads(hook)
        gc.collect()
        raise
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _WithoutLateReads:
    """A hook that drops what abandoned reads report when they end, to a loop that has closed."""

    def __init__(self, hook: Callable[[Any], Any]):
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and "loop is closed" in str(error)):
            self._hook(unraisable)
