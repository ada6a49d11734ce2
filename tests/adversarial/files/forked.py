"""A case of a file: written and read in a child that may die, hang or fill its memory."""

import io
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.adversarial.cases import LIMIT as SECONDS
from tests.adversarial.cases import PATIENCE, Case, Outcome
from tests.adversarial.memory import LIMIT, bytes_since, forget_peak

ADDRESS_SPACE = 6 * 2**30
"""Bytes that a reader may reserve beyond what the child has; more is a MemoryError."""

REPORT: list[tuple[int, str]] = []
"""Memory in bytes and name of every case that ran."""


def file_case(
    name: str,
    write: Callable[[Path], Any],
    read: Callable[[Path], Any],
    *says: str,
    taken: bool = False,
) -> Case:
    """Make a case of a file.

    Args:
        name: Unique.
        write: Writes into the folder that it is given, and returns the path that is read.
        read: Reads a path as the package does.
        *says: Fragments of the sentence, beside the file's name.
        taken: Whether the file is right and must be read.

    Returns:
        The case, which fails if refusing takes more than 300 MB, too.
    """

    def attack(folder: Path) -> Outcome:
        return _forked(name, folder, write, read, taken)

    return Case(name, attack, codes=(0,) if taken else (2,), says=says, limit=SECONDS)


def _forked(name: str, folder: Path, write: Any, read: Any, taken: bool) -> Outcome:
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        try:
            _child(folder, write, read, send)
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if not content:
        return Outcome(1, f"the reader died: status {status}", 0.0)
    code, output, seconds, peak = json.loads(content)
    if not taken:
        REPORT.append((peak, name))
    faults = (f"{peak / 1e6:.0f} MB of memory",) if peak > LIMIT and not taken else ()
    return Outcome(code, output, seconds, faults)


def _child(folder: Path, write: Any, read: Any, send: int) -> None:
    path = Path(write(folder))
    signal.alarm(int(PATIENCE * SECONDS) + 10)  # ends a child that never answers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    sys.stdout = sys.stderr = io.StringIO()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    before, began = forget_peak(), time.monotonic()
    try:
        code, output = 0, f"{type(read(path)).__name__}"
    except (ValueError, OSError) as error:
        code, output = 2, str(error)
        if path.name not in output:
            output = f"{traceback.format_exc()}\nthe file is not named"
    except BaseException:
        code, output = 1, traceback.format_exc()
    peak = bytes_since(before)
    answer = json.dumps([code, output[:20_000], time.monotonic() - began, peak])
    with os.fdopen(send, "wb") as pipe:
        pipe.write(answer.encode("utf-8", "replace"))
