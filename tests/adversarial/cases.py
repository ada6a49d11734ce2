"""What a case of the attack is, what came of it, and which outcomes are failures."""

import dataclasses
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LIMIT = 20.0
"""Seconds within which everything must answer."""
PATIENCE = float(os.environ.get("ADVERSARIAL_PATIENCE", "1"))
"""How many times a case's limit it may take, on a machine that does other things, too."""
TRACEBACK = "Traceback (most recent call last)"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        code: Exit code, None if there was no end and it was killed; of a call, 0 if it returned
            and 2 if it raised.
        output: All that was printed; of a call, the message.
        seconds: How long it took.
        faults: Whatever else is wrong, in words: files left behind, memory beyond a limit.
    """

    code: int | None
    output: str
    seconds: float = 0.0
    faults: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """An input, and what a user should get for it.

    Attributes:
        name: Unique within its table.
        attack: Give the input to the package; it gets an empty folder of its own.
        codes: The exit codes that are right; 0 alone means that the input is to be taken.
        says: Fragments that the output must have: the key, file or value, and the way out.
        limit: Seconds.
    """

    name: str
    attack: Callable[[Path], Outcome]
    codes: tuple[int, ...] = (2,)
    says: tuple[str, ...] = ()
    limit: float = LIMIT


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One case, its outcome and the failure, if it is one.

    Attributes:
        kind: "passed", "traceback", "hang", "silent" or "wrong".
        reason: Of a failure, in words.
    """

    case: Case
    outcome: Outcome
    kind: str
    reason: str = ""


KINDS = ("passed", "traceback", "hang", "silent", "wrong")


def call(function: Callable[[], object], *errors: type[Exception]) -> Outcome:
    """Call a function of the package in this process.

    Args:
        function: What to call, without arguments.
        *errors: What may be raised; ``ValueError`` and ``OSError`` unless given. Any other
            exception counts as a traceback.

    Returns:
        What came of it.
    """
    began = time.monotonic()
    try:
        value = function()
        code, output = 0, repr(value)[:2000]
    except Exception as error:
        refused = isinstance(error, errors or (ValueError, OSError))
        code, output = (2, str(error)) if refused else (1, traceback.format_exc())
    return Outcome(code, output, time.monotonic() - began)


def examine(case: Case, outcome: Outcome) -> Verdict:
    """Say what kind of outcome this is for the case.

    >>> examine(Case("a", lambda folder: None, says=("width",)), Outcome(0, "")).kind
    'silent'
    """
    if TRACEBACK in outcome.output:
        return Verdict(case, outcome, "traceback")
    if outcome.code is None or outcome.seconds > PATIENCE * case.limit:
        return Verdict(case, outcome, "hang", f"more than {PATIENCE * case.limit:g} s")
    if outcome.code not in case.codes:
        kind = "silent" if outcome.code == 0 else "wrong"
        return Verdict(case, outcome, kind, f"code {outcome.code}, right is {case.codes}")
    missing = [fragment for fragment in case.says if fragment not in outcome.output]
    if missing or outcome.faults:
        reason = [f"{fragment!r} is not said" for fragment in missing]
        return Verdict(case, outcome, "wrong", "; ".join([*reason, *outcome.faults]))
    return Verdict(case, outcome, "passed")


def run_case(case: Case) -> Verdict:
    """Run a case in a temporary folder, which is removed."""
    with tempfile.TemporaryDirectory(prefix="case-", ignore_cleanup_errors=True) as folder:
        return examine(case, case.attack(Path(folder)))


def run_cases(cases: Iterable[Case], jobs: int = 1) -> Iterator[Verdict]:
    """Run cases, in this thread or in several.

    Args:
        cases: The table.
        jobs: Number of threads; more than one is for cases that run processes of their own.

    Yields:
        Verdicts in the order of the cases.
    """
    if jobs == 1:
        yield from map(run_case, cases)
        return
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(run_case, cases)
