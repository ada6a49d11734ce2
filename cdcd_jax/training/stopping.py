"""Turn SIGTERM and SIGINT into an orderly end: at a step boundary inside training, else at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopper:
    """Remember that a signal asked the program to end.

    While a ``deferred`` block runs, a signal only sets ``requested``; outside of one it ends the
    program, as there is nothing to save then. A second signal always ends it.

    >>> stopper = Stopper()
    >>> with stopper.deferred():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stopper.requested
    True
    >>> stopper.exit_code
    0
    >>> stopper.uninstall()
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._received: int | None = None
        self._deferring = False
        self._previous: dict[int, Any] = {s: signal.signal(s, self._receive) for s in self.SIGNALS}

    @property
    def requested(self) -> bool:
        """Tell whether a signal has come."""
        return self._received is not None

    @property
    def exit_code(self) -> int:
        """Return what the program should exit with: 0 after SIGTERM, 130 after SIGINT."""
        return 130 if self._received == signal.SIGINT else 0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Leave the reaction to the code inside, which is to look at ``requested``."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def uninstall(self) -> None:
        """Give the signals back to whoever handled them before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        again = self.requested
        self._received = number
        if again or not self._deferring:
            raise SystemExit(self.exit_code)
