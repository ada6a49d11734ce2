"""Observers of a run, whose failures cost a warning and never the run."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
from tqdm import tqdm


class Observer:
    """A part of a run that only looks on.

    Args:
        name: What it is, as the subject of a sentence.
        again: Whether it is tried again at the next opportunity; else it is left out from its
            first failure on. Only the first failure is reported.

    >>> images = Observer("the image of samples", again=True)
    >>> images.call(len, "abc")
    3
    """

    def __init__(self, name: str, *, again: bool):
        self._name, self._again = name, again
        self._failed = False

    def call(self, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Do something, unless it has failed before and is not tried again.

        Of many hosts, a computation that they do together cannot fail on one of them alone and be
        gone on from: such a failure is raised.

        Args:
            act: What to do.
            *arguments: Of it.
            **options: Of it.

        Returns:
            What it returns; None where it fails or is left out.
        """
        if self._failed and not self._again:
            return None
        try:
            return act(*arguments, **options)
        except Exception as error:
            if jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError):
                raise
            if not self._failed:
                self._failed = True
                self._warn(error)
        return None

    def _warn(self, error: Exception) -> None:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        what_next = "it is tried again" if self._again else "it is left out from now on"
        # stderr may be what has failed, or closed.
        with suppress(Exception):
            tqdm.write(  # above a progress bar, not into it
                f"Warning: {self._name} failed ({reason[:200]}); training continues and "
                f"{what_next}",
                file=sys.stderr,
            )
