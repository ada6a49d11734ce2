"""The progress bar of a training."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from cdcd_jax.io import is_first_host
from cdcd_jax.training.observers import Observer


class _MonotonicBar(tqdm):
    """A bar whose rate and time left follow from the monotonic clock."""

    monitor_interval = 0  # no thread of tqdm's, which has a clock of its own

    def __init__(self, **options):
        super().__init__(**options)
        if not self.disable:
            self._time = time.monotonic
            self.start_t = self.last_print_t = self._time()


class ProgressBar:
    """Rate, loss terms and time left on stderr; seldom where that is a file.

    What fails here, such as a closed or full stderr, is left out from then on.

    Args:
        num_steps: Steps of the run.
        step: The step it continues from.
    """

    def __init__(self, num_steps: int, step: int):
        self._observer = Observer("the progress bar", again=False)
        self._bar: tqdm | None = self._observer.call(_open, num_steps, step)

    def __enter__(self) -> "ProgressBar":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the last line of the bar."""
        if self._bar is not None:
            self._observer.call(self._bar.close)

    def update(self, step: int, report: Mapping[str, float]) -> None:
        """Advance to a step.

        Args:
            step: Number of updates.
            report: Numbers of which the terms of the loss are shown.
        """
        self._observer.call(self._update, step, report)

    def write(self, line: str) -> None:
        """Print a line above the bar, or without one, to stdout."""
        if self._bar is None:
            print(line)
        else:
            self._observer.call(self._bar.write, line)

    def _update(self, step: int, report: Mapping[str, float]) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(_terms(report))


def _open(num_steps: int, step: int) -> tqdm:
    return _MonotonicBar(
        total=num_steps,
        initial=step,
        desc="train",
        unit="step",
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        ncols=110,
        disable=not is_first_host(),
    )


def _terms(report: Mapping[str, float]) -> str:
    shown = [name for name in ("loss", "vb", "aux", "contrast") if name in report]
    return " ".join(f"{name} {report[name]:.4g}" for name in shown)
