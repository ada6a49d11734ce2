"""Signals at any moment: the run saves and says so, or says that there was nothing to save."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.adversarial.cases import LIMIT, Case, Outcome
from tests.adversarial.commands import (
    SMOKE,
    TINY,
    Command,
    faults_of,
    run,
    start_forked,
    trained_run,
    wait,
)

LONG = (*TINY, "--config.train.num_steps=1000", "--config.train.checkpoint_every=1000")
SAVED = re.compile(r"Stopped at step|[Ss]aved")
RIGHT = {signal.SIGTERM: (0, 143), signal.SIGHUP: (0, 129), signal.SIGINT: (130,)}
"""The exit codes: saved, or nothing to save."""


def _said(*words: str) -> Callable[[Path, Path], bool]:
    def has_said(folder: Path, output: Path) -> bool:
        said = output.read_text(errors="replace") if output.exists() else ""
        return any(word in said for word in words)

    return has_said


def _later(seconds: float) -> Callable[[Path, Path], bool]:
    return lambda folder, output: time.sleep(seconds) or True


def _reported(folder: Path, output: Path) -> bool:
    return (folder / "run" / "metrics.jsonl").exists()


MOMENTS = {
    "at once": _later(0.0),
    "after 0.1 s": _later(0.1),
    "after 0.4 s": _later(0.4),
    "after 1 s": _later(1.0),
    "before the first step": _said("Training on"),
    "in training": _reported,
}
SHORT_MOMENTS = {
    "at the end of training": _said("4/4"),
    "while it measures the bound": _said("bound:"),
    "while it looks at real examples": _said("real test"),
    "while it samples": _said("samples, 2 steps"),
}
"""Of a run of four steps."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for number, codes in RIGHT.items():
        name = signal.Signals(number).name
        for moment, reached in MOMENTS.items():
            # At once may be before Python has come to handlers of signals.
            right = (*codes, -number) if moment == "at once" else codes
            yield _case(f"{name} {moment}", LONG, reached, (number,), right, _goes_on)
        for moment, reached in SHORT_MOMENTS.items():
            yield _case(f"{name} {moment}", TINY, reached, (number,), (0, *codes), _goes_on)
        for mode in ("sample", "evaluate"):
            for seconds in (0.1, 0.8):
                yield _case(f"{name} after {seconds} s of {mode}", (*TINY, f"--mode={mode}"),
                            _later(seconds), (number,), (0, *codes, -number), _is_whole,
                            prepare=trained_run)  # fmt: skip
    yield _case("SIGPIPE in training", TINY, _said("Training on"), (signal.SIGPIPE,), (0, 141),
                _goes_on)  # fmt: skip
    yield _case("SIGINT twice", LONG, _reported, (signal.SIGINT,) * 2, (130, -2), _goes_on)
    yield _case("SIGTERM twice", LONG, _reported, (signal.SIGTERM,) * 2, (0, 143, -15), _goes_on)
    yield _case("SIGTERM and SIGINT", LONG, _reported, (signal.SIGTERM, signal.SIGINT),
                (0, 130, 143), _goes_on)  # fmt: skip
    yield _case("SIGKILL in training", LONG, _reported, (signal.SIGKILL,), (-9,), _goes_on)
    yield _case("SIGKILL while it measures", TINY, _said("bound:"), (signal.SIGKILL,), (-9,),
                _goes_on)  # fmt: skip


def _case(
    name: str,
    flags: tuple[str, ...],
    reached: Callable[[Path, Path], bool],
    numbers: tuple[int, ...],
    codes: tuple[int, ...],
    check: Callable[[Path, Outcome, tuple[str, ...]], str],
    prepare: Callable[[Path], None] | None = None,
) -> Case:
    def attack(folder: Path) -> Outcome:
        here, output = folder / "here", folder / "output.txt"
        here.mkdir()
        (folder / "tmp").mkdir()
        if prepare:
            prepare(here)
        arguments = (f"--config={SMOKE}", "--workdir=run", *flags)
        process = start_forked(here, *arguments, output=output)
        _send(process, numbers, partial(reached, here, output))
        code = wait(process, LIMIT)
        said = output.read_text(errors="replace") if output.exists() else ""
        outcome = Outcome(code, said)
        wrong = check(here, outcome, flags) if outcome.code in codes else ""
        faults = (*faults_of(outcome.output), *([wrong] if wrong else []))
        return Outcome(outcome.code, outcome.output, faults=faults)

    return Case(name, attack, codes)


def _send(process: Command, numbers: tuple[int, ...], reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not reached() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)


def _goes_on(folder: Path, outcome: Outcome, flags: tuple[str, ...]) -> str:
    """What was said of saving is true, and the same command goes on to its end."""
    saved = [path for path in (folder / "run" / "checkpoints").glob("*") if path.name.isdecimal()]
    if SAVED.search(outcome.output) and not saved:
        return "it says that it saved, and there is no checkpoint"
    silent = outcome.code in (0, 129, 143) and "bits per token" not in outcome.output
    if silent and not (SAVED.search(outcome.output) or "nothing" in outcome.output):
        return "it says neither that it saved nor that there was nothing to save"
    code, output = run(folder, "--workdir=run", *flags)
    if code != 0 or "damaged" in output:
        return f"the same command does not go on: {output[-200:]}"
    return ""


def _is_whole(folder: Path, outcome: Outcome, flags: tuple[str, ...]) -> str:
    """Nothing is left behind by half, and the run can be sampled."""
    left = [path for path in folder.rglob("*") if ".part" in path.name]
    if left:
        return f"left behind: {left}"
    code, output = run(folder, "--workdir=run", "--mode=sample", "--num_samples=1")
    return "" if code == 0 else f"cannot be sampled any more: {output[-200:]}"
