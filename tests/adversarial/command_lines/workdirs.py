"""Folders of a run: names that are hard, places that cannot be written to, and what is there."""

import os
from collections.abc import Iterator
from pathlib import Path

from tests.adversarial.cases import Case
from tests.adversarial.commands import ROOT, TINY, command, run, trained_run

HARD_NAMES = (
    "[x]", "a[0-9]b", "*", "run*", "?", "back\\slash", "tab\there", "new\nline", "two  spaces",
    " before", "behind ", "quote'", 'quote"', "%s%d", "{folder}", "$HOME", "~", "#", "a;b", "a&b",
    "ü", "зима", "雪", "\u202egnp", "e\u0301", "\U0001f600", "-rf", "--mode=train", "a=b",
    "a,b", "a:b", "C:\\runs", "con", ".hidden", "run.", "..a", "a/../b", "./././run", "a//b",
    "run/", "nowhere/at/all/run", "checkpoints", "4", "metrics.jsonl", "x" * 200, "\udcff",
)  # fmt: skip
"""Each must hold a run that can be sampled, or be refused before anything is done."""

REFUSED = {
    "a bucket of Google's": "gs://bucket/run",
    "a bucket of Amazon's": "s3://bucket/run",
    "a cluster of Hadoop's": "hdfs://name/run",
    "a URL": "https://localhost/run",
    "a URL of a file": "file:///tmp/run",
    "a name too long": "x" * 256,
    "a path too long": "x/" * 3000,
    "a device": "/dev/null",
    "a full device": "/dev/full",
    "inside a device": "/dev/full/run",
    "inside proc": "/proc/run",
    "inside sys": "/sys/run",
    "a file": "file",
    "inside a file": "file/run",
    "a link to itself": "loop",
    "inside a link to itself": "loop/run",
    "a link to a file": "link",
    "a pipe": "pipe",
}


def cases() -> Iterator[Case]:
    """Yield the table."""
    for number, name in enumerate(HARD_NAMES):
        shown = name if len(name) < 30 else f"{len(name)} letters"
        yield command(f"in {number} {shown!r}", *TINY, workdir=name, codes=(0, 2), limit=60,
                      check=lambda folder, name=name: _whole(folder, name))  # fmt: skip
    for place, workdir in REFUSED.items():
        for mode in ("train", "sample"):
            yield command(f"{mode}: {place}", *TINY, f"--mode={mode}", workdir=workdir,
                          codes=(1, 2), prepare=_obstacles,
                          says=workdir.split("//")[-1][:40])  # fmt: skip
    yield command("a default folder inside of a file", *TINY, workdir=None, files={"runs": "x"},
                  says="runs is not a folder; give another path", leaves=())  # fmt: skip
    for mode in ("sample", "evaluate"):
        yield command(f"{mode} in an empty folder", *TINY, f"--mode={mode}", codes=(1, 2),
                      prepare=lambda folder: (folder / "run").mkdir(),
                      says=("run", "--mode=train"))  # fmt: skip
        yield command(f"{mode} before training", *TINY, f"--mode={mode}", codes=(1, 2),
                      says=("run", "--mode=train"))  # fmt: skip
        yield command(f"{mode} with no checkpoints in their folder", *TINY, f"--mode={mode}",
                      prepare=lambda folder: (folder / "run" / "checkpoints").mkdir(parents=True),
                      codes=(1, 2), says="run")  # fmt: skip
        yield command(f"{mode} where checkpoints are a file", *TINY, f"--mode={mode}",
                      files={"run/checkpoints": "x"}, codes=(1, 2), says="run")  # fmt: skip
        yield command(f"{mode} of the checkpoints' folder", *TINY, f"--mode={mode}",
                      workdir="run/checkpoints", prepare=trained_run, codes=(1, 2),
                      leaves=("run/checkpoints/error*.txt",), says="run/checkpoints")  # fmt: skip
    yield command("train where checkpoints are a file", *TINY, files={"run/checkpoints": "x"},
                  codes=(1, 2), says="checkpoints")  # fmt: skip
    yield command("train where metrics are a folder", *TINY, files={"run/metrics.jsonl/x": "x"},
                  codes=(1, 2), says="metrics.jsonl", leaves=("run/*",))  # fmt: skip
    yield command("train in another configuration's run", *TINY, "--config.denoiser.width=16",
                  prepare=trained_run, says=("denoiser.width", "--workdir"))  # fmt: skip
    yield command("train in another experiment's run", *TINY, prepare=trained_run,
                  config=f"{ROOT}/configs/digits_step_inter.py:smoke",
                  says="loss.mechanism")  # fmt: skip
    yield command("train in a run of another seed", *TINY, "--config.train.seed=3",
                  prepare=trained_run, says="train.seed")  # fmt: skip
    yield command("sample another configuration's run", *TINY, "--config.denoiser.width=16",
                  "--mode=sample", prepare=trained_run, codes=(1, 2),
                  says="denoiser.width")  # fmt: skip
    yield command("evaluate another configuration's run", *TINY, "--config.denoiser.num_layers=2",
                  "--mode=evaluate", prepare=trained_run, codes=(1, 2),
                  says="denoiser.num_layers")  # fmt: skip
    yield command("train in a folder of other files", *TINY, files={"run/thesis.tex": "mine"},
                  codes=0, limit=60,
                  check=lambda folder: _is(folder / "run/thesis.tex", "mine"))  # fmt: skip
    yield command("train where a link to a folder is", *TINY, codes=0, limit=60,
                  prepare=_linked,
                  check=lambda folder: "" if [*(folder / "there").iterdir()] else "empty"
                  )  # fmt: skip
    yield command("train where a link to nothing is", *TINY, codes=(0, 1, 2), limit=60,
                  prepare=lambda folder: (folder / "run").symlink_to("nothing"))  # fmt: skip


def _linked(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "run").symlink_to("there")


def _obstacles(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    (folder / "loop").symlink_to("loop")
    (folder / "link").symlink_to("file")
    os.mkfifo(folder / "pipe")


def _is(path: Path, content: str) -> str:
    return "" if path.read_text() == content else f"{path} was written over"


def _whole(folder: Path, name: str) -> str:
    """Say what is wrong with a folder where a run may be: it has a checkpoint, or nothing."""
    if not any(folder.iterdir()):
        return ""
    if len([*folder.iterdir()]) > 1 and "/" not in name:
        return f"beside the workdir: {sorted(path.name for path in folder.iterdir())}"
    code, output = run(folder, f"--workdir={name}", "--mode=sample", "--num_samples=1")
    return "" if code == 0 else f"what was trained cannot be sampled: {output[-200:]}"
