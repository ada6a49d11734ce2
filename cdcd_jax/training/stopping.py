"""How a run ends: at a step boundary after a signal, and of several hosts not before all speak."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from jax._src import distributed  # The store that all hosts share has no public name.
from jax.experimental import multihost_utils

LAST_WORDS = 5
"""Seconds that a host 0 that fails gives others that fail as well to say why."""


class Stopper:
    """Remember that a signal asked the program to end.

    While a ``deferred`` block runs, a signal only sets ``requested``; outside of one it ends the
    program, as there is nothing to save then. A second signal always ends it. That end is
    ``os._exit``: an exception may come up in a callback of JAX, which would lose it, and Python's
    own end in the middle of JAX's work can crash in one of JAX's threads.

    Of several hosts none may stop alone. SIGTERM on one of them is a notice that JAX's preemption
    service hands to all, and ``requested_at`` tells each to stop at the same step; it is remembered
    until training asks, and means nothing afterwards. SIGINT ends a host at once, and the others
    then find that it has gone.

    Args:
        others: Whether the run has other hosts; ``join_hosts`` must come first then, as its
            handler of SIGTERM is the one to stay.

    >>> stopper = Stopper()
    >>> with stopper.deferred():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stopper.requested_at(7)
    True
    >>> stopper.exit_code
    0
    >>> stopper.uninstall()
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, *, others: bool = False):
        self._received: int | None = None
        self._deferring = False
        self._others, self._num_asked = others, 0
        ours = (signal.SIGINT,) if others else self.SIGNALS
        self._previous: dict[int, Any] = {s: signal.signal(s, self._receive) for s in ours}

    @property
    def requested(self) -> bool:
        """Tell whether a signal has come, or, with other hosts, all have agreed to stop."""
        return self._received is not None

    def requested_at(self, step: int) -> bool:
        """Tell whether to stop after a step; the same on all hosts.

        Args:
            step: Number of updates applied. Every host must ask after every step; one process may
                train twice, a codec and then what it is for.

        Returns:
            As ``requested``.
        """
        self._num_asked += 1
        # The service expects numbers that grow, and steps begin anew with each training.
        if self._others and multihost_utils.reached_preemption_sync_point(self._num_asked):
            self._received = signal.SIGTERM
        return self.requested

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
        # Of several hosts nothing can be saved alone.
        if self._others or again or not self._deferring:
            with suppress(RuntimeError):  # where it came in the middle of a print
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(self.exit_code)


def let_others_speak() -> None:
    """Wait, before host 0 fails, for the others that fail as it does; at most ``LAST_WORDS``.

    Its end ends all others at once, in the middle of a sentence and with a stack trace. The others
    only say that they are about to end.
    """
    state = distributed.global_state
    if state.client is None:
        return
    deadline = time.monotonic() + LAST_WORDS
    try:
        if state.process_id != 0:
            state.client.key_value_set(f"ending/{state.process_id}", "")
            return
        for other in range(1, state.num_processes or 1):
            left = max(deadline - time.monotonic(), 0.001)
            state.client.blocking_key_value_get(f"ending/{other}", int(1000 * left))
        time.sleep(1.0)  # until the last of them, too, has heard that it was heard, and is gone
    except RuntimeError:
        pass  # It still works, and will find that this host has gone; or has long gone itself.
