"""Metrics of a run, as JSON lines and as TensorBoard events."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import (  # made at run time
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.summary import scalar

from cdcd_jax.io import atomic_write, is_first_host
from cdcd_jax.reading.regular import check_kind, open_regular
from cdcd_jax.training.observers import Observer


class MetricsWriter:
    r"""A writer of one line per report to ``metrics.jsonl`` and the same to ``tensorboard/``.

    Of many hosts the first writes for all. A run that was killed may have written lines beyond its
    last checkpoint. Resuming drops them, so that each step is logged once. A disk that refuses a
    line gets it again with the next one; TensorBoard's file is given up.

    Args:
        workdir: Existing folder of the run.
        step: The step the run continues from; 0 starts anew.

    Raises:
        OSError: If what already exists cannot be read or replaced.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with MetricsWriter(folder, step=0) as writer:
    ...     writer.write(10, {"loss": 2.5})
    >>> (folder / "metrics.jsonl").read_text()
    '{"step": 10, "loss": 2.5}\n'
    """

    def __init__(self, workdir: Path, *, step: int):
        self._writes = is_first_host()
        if not self._writes:
            return
        path = workdir / "metrics.jsonl"
        if damaged := _drop_lines_after(path, step):
            print(f"{path} lost {damaged} damaged line{'s'[: damaged > 1]}")
        self._lines = _Lines(path)
        self._record = Observer(str(path), again=True)
        self._observer = Observer("TensorBoard's file", again=False)
        self._events: _Events | None = self._observer.call(
            _Events, workdir / "tensorboard", step + 1
        )

    def __enter__(self) -> "MetricsWriter":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both files."""
        if self._writes:
            self._record.call(self._lines.close)
            if self._events is not None:
                self._observer.call(self._events.close)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append values.

        Args:
            step: Number of updates before them.
            values: Finite numbers by name.
        """
        if not self._writes:
            return
        self._record.call(self._lines.write, json.dumps({"step": step, **values}))
        if self._events is not None:
            self._observer.call(self._events.write, step, values)


class _Lines:
    """A file that lines are added to; what the disk refuses is kept for the next time.

    Whoever moves the file away during a run, as logrotate does, gets a new one of that name.
    """

    def __init__(self, path: Path):
        self._path, self._left = path, b""
        self._file: int | None = None

    def write(self, line: str) -> None:
        """Add a line, which is on its way to the disk when this returns."""
        self._left += line.encode() + b"\n"
        self._flush()

    def close(self) -> None:
        """Close the file."""
        try:
            self._flush()
        finally:
            self._close()

    def _flush(self) -> None:
        try:
            file = self._opened() if self._left else -1
            while self._left:
                # A full disk may take a part: the rest of that line follows later.
                self._left = self._left[os.write(file, self._left) :]
        except OSError:
            self._close()
            raise

    def _opened(self) -> int:
        if self._file is not None and self._is_moved(self._file):
            self._close()
        if self._file is None:
            # Without blocking if it is a named pipe without a reader.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(self._path, flags, 0o644)
            check_kind(os.fstat(self._file).st_mode, self._path)
        return self._file

    def _is_moved(self, file: int) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(file))
        except FileNotFoundError:
            return True

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


class _Events:
    """TensorBoard's file, written in this thread: no queue, so nothing to wait for."""

    def __init__(self, folder: Path, purge_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        # What an earlier part of the run has written from here on is not shown any more.
        self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))
        self._writer.flush()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._add(Event(step=step, summary=scalar(name, value)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()  # only a label of the time of day
        self._writer.write_event(event)


def _drop_lines_after(path: Path, step: int) -> int:
    """Keep the lines up to a step, atomically; return how many others are not reports.

    A torn last line, which a kill leaves behind, does not count.
    """
    if not path.exists():
        return 0
    damaged = 0
    with open_regular(path) as lines, atomic_write(path) as part, part.open("wb") as kept:
        for line in lines:
            try:
                if json.loads(line)["step"] <= step:
                    kept.write(line.rstrip(b"\n") + b"\n")
            except (ValueError, KeyError, TypeError, RecursionError):
                damaged += line.endswith(b"\n")
    return damaged
