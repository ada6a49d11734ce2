"""A trace of some training steps, which TensorBoard and Perfetto open."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.training.observers import Observer


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The steps to trace.

    Attributes:
        first: Number of the first step, >= 1, counted over all restarts.
        last: Number of the last one, >= first.
        folder: Where the trace goes; every host adds a file of its own.
    """

    first: int
    last: int
    folder: Path


def parse_profile(text: str, *, num_steps: int, folder: Path) -> Profile:
    """Read which steps to trace.

    Args:
        text: As given to ``--profile``, e.g. ``10:20``.
        num_steps: Steps of the run.
        folder: Where the trace shall go.

    Returns:
        The steps.

    Raises:
        ValueError: If they are not steps of the run.

    >>> parse_profile("10:20", num_steps=100, folder=Path("run")).last
    20
    """
    first, _, last = text.partition(":")
    numbers = first.isdecimal() and last.isdecimal() and len(text) < 40
    if not (numbers and 1 <= int(first) <= int(last) <= num_steps):
        raise ValueError(
            f"profile = {text} must be FIRST:LAST, two steps of this run with "
            f"1 <= FIRST <= LAST <= train.num_steps = {num_steps}; take --profile=10:20, say"
        )
    return Profile(first=int(first), last=int(last), folder=folder)


class Profiler:
    """A tracer of some steps; its failures end the trace only.

    Args:
        profile: What to trace; None for nothing.
    """

    def __init__(self, profile: Profile | None = None):
        self.profile = profile
        self.tracing = False
        self._observer = Observer("the profile", again=False)

    @contextlib.contextmanager
    def running(self) -> Iterator["Profiler"]:
        """End the trace when the run ends before the last step of it, however it ends."""
        try:
            yield self
        finally:
            self._stop()

    def step(self, number: int) -> contextlib.AbstractContextManager[Any]:
        """Name the step that is about to be taken; a trace that begins with it is started."""
        profile = self.profile
        if profile is None:
            return contextlib.nullcontext()
        if not self.tracing and profile.first <= number <= profile.last:
            self._observer.call(self._start, profile)
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def taken(self, number: int, results: Any) -> None:
        """End the trace after its last step, once the device has the results of it.

        Args:
            number: The step that was taken.
            results: What it will give; waited for at the end of the trace only.
        """
        if self.tracing and self.profile is not None and number >= self.profile.last:
            jax.block_until_ready(results)
            self._stop()

    def _start(self, profile: Profile) -> None:
        jax.profiler.start_trace(str(profile.folder))
        self.tracing = True

    def _stop(self) -> None:
        if self.tracing:
            self.tracing = False
            self._observer.call(self._write)

    def _write(self) -> None:
        jax.profiler.stop_trace()
        if self.profile is not None:
            print(f"Profile:     {self.profile.folder}", flush=True)
