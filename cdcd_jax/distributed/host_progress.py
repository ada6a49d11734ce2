"""Progress of the main thread, counted at points that all hosts pass in the same order."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUSY = 1e-3
"""Share of a processor above which the main thread is at work, though it counts no progress."""

BUSY_THREADS = 2e-2
"""Share above which it waits for other threads of its process that are, such as a compiler's."""

WAITING_FOR_THREADS = 4
"""A main thread that has idled for so many times the timeout is idle, whatever others do."""


@dataclass(frozen=True)
class Report:
    """A host's report about itself.

    Attributes:
        count: How often it has made progress.
        waited: Seconds since then.
        idle: Seconds since then, or since the process has last been at work.
        doing: What it does since then.
        place: Functions that its main thread is in, the innermost first.
        number: How many reports came before this.
    """

    count: int
    waited: float
    idle: float
    doing: str
    place: str
    number: int = 0


def cpu_seconds() -> tuple[float, float]:
    """Return for how long the main thread, and all threads, have used a processor."""
    main, clock = threading.main_thread().ident, getattr(time, "pthread_getcpuclockid", None)
    whole = time.process_time()
    if clock is None or main is None:  # not on macOS; then for all threads
        return whole, whole
    return time.clock_gettime(clock(main)), whole


def find_place() -> str:
    """Return the functions that the main thread is in, the innermost first."""
    frame: Any = sys._current_frames().get(threading.main_thread().ident or 0)
    names: list[str] = []
    while frame is not None and len(names) < 4:
        file = Path(frame.f_code.co_filename).name
        names.append(f"{frame.f_code.co_name} in {file}:{frame.f_lineno}")
        frame = frame.f_back
    return ", ".join(names)


class Progress:
    """Progress of the main thread of this process.

    Args:
        clock: Seconds since some moment.
        used: Seconds of a processor that the main thread, and all threads, have used.

    Attributes:
        longest: Seconds that progress has taken at most.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], tuple[float, float]] | None = None,
    ):
        self.clock, self._cpu_seconds = clock, used or cpu_seconds
        self.restart()

    def restart(self) -> None:
        """Begin to count."""
        self._sampled, self._used = self.clock(), self._cpu_seconds()
        self._made = (0, "starting", self._sampled)
        self._at_work, self._main_at_work, self.longest = self._sampled, self._sampled, 0.0

    def advance(self, doing: str) -> None:
        """Count progress; to be called by all hosts in the same order.

        Args:
            doing: What begins now, to be said of a host that does not come to its end.
        """
        count, _, since = self._made
        now = self.clock()
        self.longest = max(self.longest, now - since)
        self._made = (count + 1, doing, now)

    def report(self, number: int = 0) -> Report:
        """Return how far this process has come; from one thread only."""
        now, used = self.clock(), self._cpu_seconds()
        main, all_threads = (a - b for a, b in zip(used, self._used, strict=True))
        if main > BUSY * (now - self._sampled):
            self._at_work = self._main_at_work = now
        if all_threads > BUSY_THREADS * (now - self._sampled):
            self._at_work = now
        self._used, self._sampled = used, now
        count, doing, since = self._made
        main_idle = now - max(since, self._main_at_work)
        idle = max(now - max(since, self._at_work), main_idle / WAITING_FOR_THREADS)
        return Report(count, now - since, idle, doing, find_place(), number)


PROGRESS = Progress()
advance = PROGRESS.advance


@contextmanager
def meeting(doing: str) -> Iterator[None]:
    """Count the arrival at something that all hosts do together, and its end."""
    advance(doing)
    yield
    advance(f"after {doing}")


class FollowedBatches:
    """A stream of batches that counts as progress; all hosts read it in the same order.

    Args:
        batches: The stream.
        step: Step whose batch comes next, less one.
    """

    def __init__(self, batches: Any, step: int):
        self._batches, self._step = batches, step

    def __next__(self) -> Mapping[str, Any]:
        """Return this process's rows of the next batch."""
        self._step += 1
        advance(f"reading the batch of step {self._step}")
        batch = next(self._batches)
        advance(f"in step {self._step}")
        return batch

    def get_state(self) -> Any:
        """Return the position, made of JSON types."""
        return self._batches.get_state()

    def set_state(self, state: Any) -> None:
        """Go to a position."""
        self._batches.set_state(state)
