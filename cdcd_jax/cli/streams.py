"""Output streams that never raise: a closed pipe or a full disk stops the run cleanly."""

import io
import os
import sys
from collections.abc import Callable


class GuardedFile(io.FileIO):
    """A descriptor to write to; what it refuses is reported and dropped.

    Args:
        descriptor: An open one, which is not closed.
        on_failure: Called with the error of every write that fails.

    Attributes:
        in_line: Whether the last line has no end yet, as that of a progress bar.
    """

    def __init__(self, descriptor: int, on_failure: Callable[[OSError], None]):
        super().__init__(descriptor, "w", closefd=False)
        self._on_failure, self.in_line = on_failure, False

    def write(self, data, /) -> int:
        """Write, or report why not; all bytes count as written then."""
        self.in_line = bytes(data[-1:]) != b"\n"
        try:
            written = super().write(data)
        except OSError as error:
            self._on_failure(error)
            written = None
        return memoryview(data).nbytes if written is None else written


def guard_output(on_failure: Callable[[OSError], None]) -> None:
    """Make ``print`` never raise, neither for the descriptor nor for an unencodable character.

    Lines are passed on at once, so that nothing is lost where the program ends at once.

    Args:
        on_failure: Called with the error of every write to stdout that fails. What stderr refuses
            is dropped, as a progress bar is no reason to stop.
    """
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: its number must not become a file's
            _open_nothing(descriptor)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        raw = GuardedFile(descriptor, on_failure if name == "stdout" else lambda error: None)
        guarded = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True
        )
        setattr(sys, name, guarded)


def _open_nothing(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != descriptor:
            os.dup2(nothing, descriptor)
            os.close(nothing)
