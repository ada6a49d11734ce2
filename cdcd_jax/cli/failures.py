"""Handling of errors: one sentence, an exit code, and the trace in a file."""

import errno
import os
import re
import shlex
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
from absl import flags
from jax._src import distributed  # The number of this host has no public name before JAX starts.

from cdcd_jax.distributed.hosts import explain_loss
from cdcd_jax.training.checkpoints.lock import LOCK
from cdcd_jax.training.stopping import flush_peer_errors

PACKAGE = Path(__file__).parents[1]
TRACE_FILE = "error.txt"
MAX_TRACE_FILE = 1 << 20
"""Bytes after which the file of traces begins anew."""

DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE),
    *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EPIPE, errno.ETIMEDOUT),
)
"""Errors of a machine, which may be gone the next time."""

USED_UP = re.compile(r"RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)


class Failure(NamedTuple):
    """The sentence about an exception, and the exit code.

    Attributes:
        sentence: What is wrong and the way out.
        code: 2 if the command, its configuration or an input must be changed, 1 otherwise.
        expected: Whether the sentence needs no trace to be understood.
    """

    sentence: str
    code: int
    expected: bool = True


def explain(error: BaseException) -> Failure:
    """Find the sentence and the exit code of an exception.

    Args:
        error: As it was caught.

    Returns:
        Both. An exception that this package raised in words keeps them; of any other the type, the
        message and the place are said.

    >>> explain(FileNotFoundError(2, "No such file or directory", "a.npy"))
    Failure(sentence='a.npy: No such file or directory', code=2, expected=True)
    >>> explain(ZeroDivisionError("division by zero")).sentence
    'ZeroDivisionError: division by zero'
    """
    if isinstance(error, OSError) and (error.filename is not None or _is_ours(error)):
        words = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return Failure(_on_one_line(words), 1 if error.errno in DISK else 2)
    if isinstance(error, ValueError) and _is_ours(error):
        return Failure(_on_one_line(str(error)), 2)
    if type(error).__module__.partition(".")[0] == PACKAGE.name:
        return Failure(_on_one_line(str(error)), 1)
    words = _on_one_line(str(error))
    if isinstance(error, MemoryError):
        return Failure(f"the memory of this machine is used up ({words}): {_smaller()}", 1, False)
    if isinstance(error, RuntimeError) and USED_UP.search(words):
        return Failure(f"the device's memory is used up ({words}): {_smaller()}", 1, False)
    name = type(error).__name__
    return Failure(f"{name}: {words}" if words else name, 1, False)


def fail(error: BaseException) -> NoReturn:
    """End the program with the sentence of an exception.

    Other hosts are given the time to say the same, as the end of host 0 ends them; unless one of
    them is the reason.

    Args:
        error: As it was caught.
    """
    failure = explain(error)
    others = jax.distributed.is_initialized()
    # Alone, words such as "unavailable" are the disk's, not another host's.
    lost = explain_loss(error) if others and failure.code == 1 else None
    if lost is not None:
        failure = Failure(lost, 1)
    sentence = _complete(failure, error)
    host = f" on host {distributed.global_state.process_id}" if others else ""
    print(f"Error{host}: {sentence}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    if lost is None:
        flush_peer_errors()
    # Threads of a failed save would print tracebacks after our last word while Python ends, and JAX
    # would wait for all hosts to come to their end.
    os._exit(failure.code)


def watch_threads() -> None:
    """Print one line for each exception raised in a thread or finalizer."""
    threading.excepthook = lambda failed: _warn(failed.exc_value, f"thread {failed.thread}")
    sys.unraisablehook = lambda failed: _warn(failed.exc_value, f"{failed.object}")


def _warn(error: BaseException | None, where: str) -> None:
    """Print a line on what could not be raised, but for what a failed save leaves behind."""
    if error is None or isinstance(error, SystemExit) or str(error) == "Event loop is closed":
        return
    failure = explain(error)._replace(expected=False)
    print(f"Warning: in {where[:80]}: {_complete(failure, error)}", file=sys.stderr)


def _complete(failure: Failure, error: BaseException) -> str:
    """Write the trace; add to a sentence that needs it what was done, and where the trace is."""
    trace = "".join(traceback.format_exception(error))
    if _flag("debug") or "--debug" in sys.argv:
        sys.stderr.write(trace)
    file = _write_trace(trace, anywhere=not failure.expected)
    if failure.expected:
        return failure.sentence
    where = file if file is not None else "no file, as none can be written; add --debug"
    mode = _flag("mode")
    doing = f"--mode={mode} failed" if mode else "the start failed"
    return f"{doing}{_place(error)}: {failure.sentence}; the trace is in {where}"


def _write_trace(trace: str, *, anywhere: bool) -> Path | None:
    """Add a trace to the run's file, or write it to a temporary one.

    Args:
        trace: As Python prints it.
        anywhere: Whether it is wanted where the run has no folder that can be written to, too.

    Returns:
        The file, or None.
    """
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(sys.argv)}\n{trace}\n"
    host = distributed.global_state.process_id
    workdir = _flag("workdir")
    # A lock that is still there is another process's: this one has let go of its own.
    with suppress(OSError, ValueError):
        if workdir and Path(workdir).is_dir() and not (Path(workdir) / LOCK).exists():
            stem, _, end = TRACE_FILE.partition(".")
            file = Path(workdir) / (f"{stem}-host{host}.{end}" if host else TRACE_FILE)
            if file.is_file() or not file.exists():
                again = file.exists() and file.stat().st_size < MAX_TRACE_FILE
                with file.open("a" if again else "w", encoding="utf-8", errors="replace") as out:
                    out.write(text)
                return file
    if not anywhere:
        return None
    try:
        descriptor, name = tempfile.mkstemp(prefix="cdcd_jax-error-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="replace") as out:
            out.write(text)
    except OSError:
        return None
    return Path(name)


def _flag(name: str) -> Any:
    """Return the value of a flag; None before flags are parsed."""
    return flags.FLAGS[name].value if name in flags.FLAGS else None


def _is_ours(error: BaseException) -> bool:
    """Return whether an exception was raised by a ``raise`` of this package.

    >>> try:
    ...     int("x")
    ... except ValueError as error:
    ...     _is_ours(error)
    False
    """
    frames = traceback.extract_tb(error.__traceback__)
    return (
        bool(frames)
        and Path(frames[-1].filename).is_relative_to(PACKAGE)
        and (frames[-1].line or "").startswith("raise ")
    )


def _place(error: BaseException) -> str:
    """Return the file and line of this package in which an exception was raised."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(PACKAGE) and file.name not in ("main.py", Path(__file__).name):
            return f" in {file.relative_to(PACKAGE.parent)}, line {frame.lineno}"
    return ""


def _smaller() -> str:
    """Suggest what takes less memory in the current mode."""
    mode = _flag("mode")
    if mode in ("sample", "evaluate"):
        return "lower --num_samples or eval.batch_size, or take more devices"
    if mode in ("prepare", "codec"):
        return "lower codec_train.batch_size or codec.batch_size"
    return (
        "lower train.batch_size, or keep it and raise train.num_microbatches or mesh.fsdp; "
        '--mode=plan says what fits, and denoiser.remat = "blocks" and loss.positions_per_pass help'
    )


def _on_one_line(words: str, most: int = 1000) -> str:
    """Join a message to one line; of a long one, keep the beginning and the end."""
    words = re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}…{word[0][-20:]}", words)
    line = " ".join(words.split())
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"
