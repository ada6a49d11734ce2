"""Graceful stops: at a step boundary after a signal, together on all hosts.

JAX is imported where it is needed, as signals must be handled during the seconds of its import.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

ERROR_GRACE_SECONDS = 5
"""Seconds that a host 0 that fails gives others that fail as well to say why."""


OUTPUT_LOST = -1
"""In place of a signal's number: stdout or stderr cannot be written, as on a full disk."""

SAVED: dict[int, int] = {
    signal.SIGTERM: 0,
    signal.SIGHUP: 0,
    signal.SIGINT: 130,
    signal.SIGPIPE: 141,
    OUTPUT_LOST: 1,
}
"""Exit codes where the state was saved."""

ENDED = SAVED | {signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit codes where there was nothing to save, or no time: those that a shell gives."""


class Stopper:
    """The reaction of the program to signals, and to a reader of its output that has gone.

    Within a ``deferred`` block, once a step has been taken, a signal only sets ``requested``.
    Before and outside of it the program ends at once and says what is kept. A second signal always
    ends it. That end is ``os._exit``: an exception may come up in a callback of JAX, which would
    lose it, and Python's own end in the middle of JAX's work can crash in one of JAX's threads.

    Of several hosts none may stop alone. SIGTERM on one of them is a notice that JAX's preemption
    service hands to all, and ``requested_at`` makes each stop at the same step; it is remembered
    until the training checks it, and is ignored afterwards. SIGHUP and a lost output are handed on
    to that service. SIGINT ends a host at once, and the others then find that it has gone.

    Args:
        others: Whether the run has other hosts.

    Attributes:
        others: The same; to be set after ``join_hosts``, whose handler of SIGTERM is the one to
            stay.
        kept: What is said to be kept where a signal ends the program at once.

    >>> stopper = Stopper()
    >>> with stopper.deferred():
    ...     stopper.requested_at(6)
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stopper.requested_at(7)
    False
    True
    >>> stopper.exit_code
    0
    >>> stopper.uninstall()
    """

    def __init__(self, *, others: bool = False):
        self.others, self.kept = others, "there was nothing to save"
        self._received: int | None = None
        self._deferring = self._stepped = False
        self._num_asked = 0
        ours = [signal.SIGINT] if others else [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
            ours.append(signal.SIGHUP)
        self._previous: dict[int, Any] = {s: signal.signal(s, self._receive) for s in ours}

    @property
    def requested(self) -> bool:
        """Return whether a signal has come; with several hosts, whether all have agreed to stop."""
        return self._received is not None

    def requested_at(self, step: int) -> bool:
        """Return whether to stop after a step; the same on all hosts.

        Args:
            step: Number of updates applied. Every host must ask after every step; one process may
                train twice, a codec and then what it is for.

        Returns:
            As ``requested``.
        """
        self._num_asked += 1
        self._stepped = True
        if self.others:
            from jax.experimental import multihost_utils

            # The service expects numbers that grow, and steps begin anew with each training.
            if multihost_utils.reached_preemption_sync_point(self._num_asked):
                self._received = signal.SIGTERM
        return self.requested

    @property
    def exit_code(self) -> int:
        """Return what the program should exit with once the state is saved."""
        return SAVED[self._received or signal.SIGTERM]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Delegate the reaction to the caller, who calls ``requested_at`` after each step."""
        self._deferring, self._stepped = True, False
        try:
            yield
        finally:
            self._deferring = False

    def lose_output(self, error: OSError) -> None:
        """Stop because stdout or stderr cannot be written, as if a signal had come.

        A terminal that has gone is no reason: SIGHUP says whether the program is to go with it.
        """
        if error.errno == errno.EIO or self.requested:
            return
        broken = error.errno == errno.EPIPE
        self._receive(signal.SIGPIPE if broken else OUTPUT_LOST, None)

    def uninstall(self) -> None:
        """Restore the previous handlers of the signals."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        again = self.requested
        if self.others and number != signal.SIGINT:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX's service takes it from here
            return
        self._received = number
        # Of several hosts nothing can be saved alone.
        if self.others or again or not (self._deferring and self._stepped):
            with suppress(RuntimeError):  # where it came in the middle of a print
                sys.stdout.flush()
                sys.stderr.flush()
            self._speak(number)
            if files := sys.modules.get("cdcd_jax.io"):
                files.remove_parts()
            if lock := sys.modules.get("cdcd_jax.training.checkpoints.lock"):
                lock.release_all()
            os._exit(ENDED[number])

    def _speak(self, number: int) -> None:
        """Print what is kept, without Python's buffers, which the program may be using."""
        if number == signal.SIGPIPE:
            return  # Nobody listens.
        reason = "as its output cannot be written"
        if number != OUTPUT_LOST:
            reason = f"by {signal.Signals(number).name}"
        raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
        begin = "\n" if getattr(raw, "in_line", False) else ""  # below a progress bar
        with suppress(OSError):
            os.write(2, f"{begin}Ended {reason}; {self.kept}\n".encode())


def flush_peer_errors() -> None:
    """Wait, before host 0 fails, for the others that fail as it does.

    Its end ends all others at once, in the middle of a sentence and with a stack trace. The others
    only say that they are about to end.
    """
    from jax._src import distributed  # The store that all hosts share has no public name.

    state = distributed.global_state
    if state.client is None:
        return
    deadline = time.monotonic() + ERROR_GRACE_SECONDS
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
