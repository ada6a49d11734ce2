"""Folders of runs in which something is damaged, missing, half-copied or not what it seems."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.adversarial.cases import Case
from tests.adversarial.commands import TINY, command, run, trained_run

INSIDE = (
    "_CHECKPOINT_METADATA",
    "commit_success.txt",
    "state/_METADATA",
    "state/_sharding",
    "state/manifest.ocdbt",
    "state/d/*",
    "state/array_metadatas/process_0",
    "state/ocdbt.process_0/d/*",
    "checksums/_METADATA",
    "checksums/manifest.ocdbt",
    "checksums/d/*",
    "metrics/metrics",
)
"""Files of a checkpoint, the newest of which is number 4."""

MORE = "--config.train.num_steps=4"


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def _fill(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def _fold(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": _truncate,
    "flipped in one bit": _flip,
    "filled with ones": _fill,
    "a folder": _fold,
}


DAMAGES_OF_TRAINING = ("missing", "cut", "flipped in one bit")


def cases() -> Iterator[Case]:
    """Yield the table."""
    yield from _checkpoints()
    yield from _folders()
    yield from _metrics()


def _checkpoints() -> Iterator[Case]:
    """One file of the newest checkpoint is damaged: the one before is taken, or it is said why not.

    A bit of metadata may mean nothing, so a sample is right, too, if it is the undamaged run's.
    """
    for place in INSIDE:
        for name, damage in DAMAGES.items():
            for mode in ("sample", "train") if name in DAMAGES_OF_TRAINING else ("sample",):

                def prepare(folder, place=place, damage=damage):
                    trained_run(folder)
                    for path in (folder / "run" / "checkpoints" / "4").glob(place):
                        damage(path)

                yield command(
                    f"{place} is {name}, {mode}",
                    *TINY,
                    f"--mode={mode}",
                    prepare=prepare,
                    codes=(0, 1),
                    leaves=("run/*",),
                    check=_still_there if mode == "sample" else _still_trained,
                    limit=40,
                )


def _still_there(folder: Path) -> str:
    """Reading removes nothing: neither the damaged checkpoint nor the other one."""
    names = {path.name for path in (folder / "run" / "checkpoints").iterdir()}
    return "" if {"2", "4"} <= names else f"of checkpoints 2 and 4 there are {sorted(names)}"


def _still_trained(folder: Path) -> str:
    """Training on gives a run that can be sampled, or leaves the older checkpoint."""
    if not (folder / "run" / "checkpoints" / "2").exists():
        code, output = run(folder, "--workdir=run", "--mode=sample", "--num_samples=1")
        return "" if code == 0 else f"nothing is left to sample: {output[-200:]}"
    return ""


def _folders() -> Iterator[Case]:
    def change(act):
        def prepare(folder):
            trained_run(folder)
            act(folder / "run" / "checkpoints")

        return prepare

    def both(checkpoints):
        for step in ("2", "4"):
            for path in (checkpoints / step / "state" / "d").iterdir():
                _truncate(path)

    def renamed(checkpoints):
        (checkpoints / "4").rename(checkpoints / "7")

    def swapped(checkpoints):
        (checkpoints / "4").rename(checkpoints / "x")
        (checkpoints / "2").rename(checkpoints / "4")
        (checkpoints / "x").rename(checkpoints / "2")

    def mixed(checkpoints):
        shutil.rmtree(checkpoints / "4" / "state")
        shutil.copytree(checkpoints / "2" / "state", checkpoints / "4" / "state")

    acts = {
        "both are cut": (both, 1, ("damaged", "4")),
        "a file has the next one's name": (lambda c: (c / "9").write_text("x"), (0, 1), ()),
        "an empty folder has the next one's name": (lambda c: (c / "9").mkdir(), (0, 1), ()),
        "a folder of a word is among them": (lambda c: (c / "mine").mkdir(), (0, 1), ()),
        "a number beyond 64 bits is among them": (lambda c: (c / f"{10**30}").mkdir(), (0, 1), ()),
        "a negative number is among them": (lambda c: (c / "-3").mkdir(), (0, 1), ()),
        "one is a link to nothing": (lambda c: (c / "6").symlink_to("nowhere"), (0, 1), ()),
        "one is a link to itself": (lambda c: (c / "6").symlink_to("6"), (0, 1), ()),
        "one was renamed": (renamed, 0, ("checkpoints/7 is damaged",)),
        "two were swapped": (swapped, (0, 1), ()),
        "one has the other's state": (mixed, (0, 1), ()),
        "one was copied by half": (
            lambda c: shutil.rmtree(c / "4" / "state" / "ocdbt.process_0"),
            (0, 1),
            (),
        ),
        "one is what a kill leaves": (
            lambda c: (c / "4").rename(c / "4.orbax-checkpoint-tmp"),
            0,
            (),
        ),
    }
    for name, (act, codes, says) in acts.items():
        yield command(f"checkpoints: {name}, sample", *TINY, "--mode=sample", "--num_samples=2",
                      prepare=change(act), codes=codes, says=says)  # fmt: skip


METRICS = {
    "a line is cut": lambda lines: [lines[0], lines[1][:20], *lines[2:]],
    "the last line is cut": lambda lines: [*lines[:-1], lines[-1][:20]],
    "a line is empty": lambda lines: [lines[0], b"", *lines[1:]],
    "a line is of zero bytes": lambda lines: [lines[0], b"\0" * 40, *lines[2:]],
    "a line is not a text": lambda lines: [lines[0], b"\xff\xfe\x80", *lines[2:]],
    "a line is a number": lambda lines: [lines[0], b"3", *lines[2:]],
    "a line is a list": lambda lines: [lines[0], b"[1, 2]", *lines[2:]],
    "a line has no step": lambda lines: [lines[0], b'{"loss": 1.0}', *lines[2:]],
    "a step is a word": lambda lines: [lines[0], b'{"step": "two"}', *lines[2:]],
    "a step is NaN": lambda lines: [lines[0], b'{"step": NaN}', *lines[2:]],
    "a step is infinite": lambda lines: [lines[0], b'{"step": 1e999}', *lines[2:]],
    "a step is of 5,000 digits": lambda lines: [lines[0], b'{"step": %s}' % (b"9" * 5000)],
    "a line has 10,000 brackets": lambda lines: [lines[0], b"[" * 10_000, *lines[2:]],
    "steps are twice there": lambda lines: [*lines, *lines],
    "steps are in disorder": lambda lines: lines[::-1],
    "steps are yet to come": lambda lines: [*lines, b'{"step": 900}'],
    "it is empty": lambda lines: [],
    "it is one line of 10 MB": lambda lines: [b"x" * 10_000_000],
}
"""What is wrong with ``metrics.jsonl`` -> how its four lines become so."""


def _metrics() -> Iterator[Case]:
    for name, change in METRICS.items():

        def prepare(folder, change=change):
            trained_run(folder)
            path = folder / "run" / "metrics.jsonl"
            path.write_bytes(
                b"".join(line + b"\n" for line in change(path.read_bytes().splitlines()))
            )

        yield command(
            f"metrics.jsonl: {name}",
            *TINY,
            MORE.replace("=4", "=6"),
            "--config.optimizer.decay_steps=4",
            prepare=prepare,
            codes=0,
            check=_has_new_steps,
            limit=40,
        )


def _has_new_steps(folder: Path) -> str:
    steps = []
    for line in (folder / "run" / "metrics.jsonl").read_bytes().splitlines():
        try:
            steps.append(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return "" if steps[-2:] == [5, 6] else f"the last steps are {steps[-5:]}, not 5 and 6"
