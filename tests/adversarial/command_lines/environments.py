"""Environments that are not a developer's: variables, limits, full disks, closed streams."""

from collections.abc import Iterator
from pathlib import Path

from tests.adversarial.cases import Case
from tests.adversarial.commands import TINY, command, run, shell, trained_run

WORKS = {
    "no HOME": {"HOME": None},
    "a HOME that is not there": {"HOME": "/nowhere"},
    "a HOME inside proc": {"HOME": "/proc"},
    "no folder for temporary files": {"TMPDIR": "/nowhere"},
    "temporary files inside proc": {"TMPDIR": "/proc"},
    "no PATH": {"PATH": None},
    "no width": {"COLUMNS": "0"},
    "a negative width": {"COLUMNS": "-5"},
    "a width of one": {"COLUMNS": "1", "LINES": "1"},
    "a width that is a word": {"COLUMNS": "wide"},
    "the language C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "a language that is not there": {"LANG": "xx_YY.UTF-9", "LC_ALL": "xx_YY.UTF-9"},
    "ASCII only": {"PYTHONIOENCODING": "ascii"},
    "ASCII only, strictly": {"PYTHONIOENCODING": "ascii:strict"},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "a terminal that is dumb": {"TERM": "dumb"},
    "no terminal": {"TERM": None},
    "a time zone that is not there": {"TZ": "Mars/Olympus"},
    "a cache of programs inside proc": {"JAX_COMPILATION_CACHE_DIR": "/proc/cache"},
    "a cache of programs that is a file": {"JAX_COMPILATION_CACHE_DIR": "/etc/passwd"},
    "NaN is looked for": {"JAX_DEBUG_NANS": "1"},
    "an abacus for drawing": {"MPLBACKEND": "Agg"},
}
"""Environments in which a sample must be drawn all the same."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for name, variables in WORKS.items():
        yield command(f"sample with {name}", *TINY, "--mode=sample", "--num_samples=2",
                      environment=variables, prepare=trained_run, codes=0)  # fmt: skip
    for name in ("the language C", "ASCII only, strictly", "no HOME", "a negative width"):
        yield command(f"train with {name}", *TINY, environment=WORKS[name], codes=0, limit=60,
                      says="bits per token")  # fmt: skip
    for platform in ("cuda", "tpu", "abacus"):
        yield command(f"a platform {platform} that is not there", *TINY, codes=(1, 2),
                      environment={"JAX_PLATFORMS": platform}, says=("JAX_PLATFORMS", platform),
                      leaves=("run", "run/error*.txt"))  # fmt: skip
    yield command("sample what was trained with other types", *TINY, "--mode=sample", codes=(1, 2),
                  environment={"JAX_ENABLE_X64": "1"}, prepare=trained_run,
                  says="JAX_ENABLE_X64")  # fmt: skip
    yield from _limits()
    yield from _streams()


def _limits() -> Iterator[Case]:
    for size in (6000, 30_000, 300_000):
        yield command(f"train where files end at {size} bytes", *TINY, codes=(0, 1), limit=60,
                      limits={"RLIMIT_FSIZE": size}, leaves=("*",),
                      check=_no_half_file)  # fmt: skip
        yield command(f"sample where files end at {size} bytes", *TINY, "--mode=sample",
                      limits={"RLIMIT_FSIZE": size}, prepare=trained_run, codes=(0, 1, 2),
                      check=_no_half_file,
                      leaves=("run", "run/samples", "run/error*.txt"))  # fmt: skip
    for mode in ("sample", "train"):
        for number in (16, 32, 64):
            yield command(f"{mode} with {number} open files", *TINY, f"--mode={mode}", limit=60,
                          limits={"RLIMIT_NOFILE": number}, prepare=trained_run,
                          codes=(0, 1), leaves=("run", "run/*"),
                          check=_can_be_sampled)  # fmt: skip


def _no_half_file(folder: Path) -> str:
    """No file of results is there by half."""
    left = [path.name for path in folder.rglob("*.part*")]
    empty = [path.name for path in (folder / "run").rglob("*.png") if not path.stat().st_size]
    return f"left behind: {left + empty}" if left + empty else ""


def _can_be_sampled(folder: Path) -> str:
    code, output = run(folder, "--workdir=run", "--mode=sample", "--num_samples=1")
    return "" if code == 0 else f"cannot be sampled any more: {output[-200:]}"


LINE = "$CDCD --config=$SMOKE --workdir=run $TINY"


def _streams() -> Iterator[Case]:
    """In processes of their own, as streams are what a fork replaces."""
    sample = f"{LINE} --mode=sample --num_samples=2"
    for name, line, codes in (
        ("sample without input", f"{sample} <&-", 0),
        ("sample without output", f"{sample} >&-", 0),
        ("sample without errors", f"{sample} 2>&-", 0),
        ("sample without any stream", f"{sample} <&- >&- 2>&-", 0),
        ("sample to a full disk", f"{sample} >/dev/full", (0, 1)),
        ("sample with errors to a full disk", f"{sample} 2>/dev/full", 0),
        ("sample for nobody", f"set -o pipefail; {sample} | true", (0, 141)),
        ("sample from a script's input", f"echo y | {sample}", 0),
    ):
        yield shell(name, line, prepare=trained_run, codes=codes, limit=40, quiet=True,
                    leaves=("run/*",),
                    check=_sampled)  # fmt: skip
    for name, line, codes in (
        ("train for head", f"{LINE} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}", (0, 141)),
        ("train to a full disk", f"{LINE} >/dev/full", (0, 1)),
        ("train with errors to a full disk", f"{LINE} 2>/dev/full", (0, 1)),
        ("train without streams", f"{LINE} <&- >&- 2>&-", 0),
    ):
        yield shell(name, line, codes=codes, limit=60, leaves=("run", "run/*"),
                    quiet=True,
                    check=_can_be_sampled_or_nothing)  # fmt: skip
    for name, line in (
        ("a refusal without output", "$CDCD --config=none.py >&-"),
        ("a refusal without input", "$CDCD --config=none.py <&-"),
    ):
        yield shell(name, line, codes=2, limit=40, says="none.py")
    yield shell("a refusal without errors", "$CDCD --config=none.py 2>&-; test $? = 2", codes=0,
                limit=40)  # fmt: skip
    yield shell("a refusal to a full disk", "$CDCD --config=none.py 2>/dev/full; test $? = 2",
                codes=0, limit=40)  # fmt: skip
    yield shell("a refusal for nobody", "$CDCD --config=none.py 2>&1 | true; exit ${PIPESTATUS[0]}",
                codes=(2, 141), limit=40, quiet=True)  # fmt: skip
    yield shell("another folder without the package's", "cd / && $CDCD --config=configs/none.py",
                codes=2, limit=40, says="configs/none.py")  # fmt: skip
    yield shell("a folder that was removed",
                "mkdir x && cd x && rmdir ../x && $CDCD --config=$SMOKE",
                codes=(1, 2), limit=60)  # fmt: skip


def _sampled(folder: Path) -> str:
    return "" if [*(folder / "run").glob("samples/*.png")] else "there is no image"


def _can_be_sampled_or_nothing(folder: Path) -> str:
    steps = [path for path in (folder / "run").glob("checkpoints/*") if path.name.isdecimal()]
    return _can_be_sampled(folder) if steps else ""
