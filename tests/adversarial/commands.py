"""How a command line of the attack is run: in a process and a folder of its own."""

import atexit
import fnmatch
import functools
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from tests.adversarial.cases import LIMIT, PATIENCE, Case, Outcome
from tests.support.fork_server import ROOT, Command, shared_server
from tests.support.quick_compile import quick_environment

SMOKE = f"{ROOT}/configs/digits_sample_inter.py:smoke"
TINY = (
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.train.sample_every=0",
    "--config.train.num_steps=4",
    "--config.train.checkpoint_every=2",
    "--config.train.log_every=1",
    "--config.optimizer.warmup_steps=1",
    "--config.schedule.num_steps=4",
    "--config.eval.num_steps=(2,)",
)
"""A run of few steps that compiles little."""
MEMORY = 24 << 30
"""Bytes of addresses that a command may take; XLA alone takes several gigabytes."""

TRACES = ("run/error*.txt",)
"""Where a run keeps what Python says of a failure."""

Files = Mapping[str, str | bytes]
Prepare = Callable[[Path], None]
Check = Callable[[Path], str]


def png(size: tuple[int, int], mode: str = "L") -> bytes:
    """Return the bytes of an image of one colour, of a width and a height."""
    file = io.BytesIO()
    Image.new(mode, size, "grey").save(file, "PNG")
    return file.getvalue()


def command(
    name: str,
    *arguments: str,
    config: str | None = SMOKE,
    workdir: str | None = "run",
    codes: int | tuple[int, ...] = 2,
    says: str | tuple[str, ...] = (),
    files: Files | None = None,
    prepare: Prepare | None = None,
    environment: Mapping[str, str | None] | None = None,
    limits: Mapping[str, int] | None = None,
    limit: float = LIMIT,
    leaves: tuple[str, ...] = TRACES,
    check: Check | None = None,
) -> Case:
    """Make a case of a command line that is run in a fork.

    Args:
        name: Of the case.
        *arguments: What follows ``--config`` and ``--workdir``.
        config: Given to ``--config``; None for no such flag.
        workdir: Given to ``--workdir``; None for no such flag.
        codes: The exit codes that are right.
        says: What the output must have.
        files: Files to write first, in the folder where the command runs.
        prepare: What else to do first, in that folder.
        environment: Variables to set, or with None to unset.
        limits: Names of ``resource`` and how much of each the command may use.
        limit: Seconds.
        leaves: What may be new or changed after a refusal, as patterns of paths, in which ``*``
            stands for folders, too.
        check: What is wrong with the folder afterwards, if anything; empty if nothing.

    Returns:
        The case.
    """
    first = ([] if config is None else [f"--config={config}"]) + (
        [] if workdir is None else [f"--workdir={workdir}"]
    )

    def start(folder: Path, output: Path) -> int | None:
        process = start_forked(
            folder, *first, *arguments, output=output, environment=environment, limits=limits
        )
        return wait(process, limit)

    return _case(name, start, codes, says, files, prepare, limit, leaves, check)


def start_forked(
    folder: Path,
    *arguments: str,
    output: Path,
    environment: Mapping[str, str | None] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Command:
    """Start a command in a folder, by a fork."""
    return shared_server().popen(
        arguments,
        cwd=folder,
        env=_environment(folder, environment),
        limits={"RLIMIT_AS": MEMORY, **(limits or {})},
        stdout=output,
    )


def wait(process: Command, limit: float = LIMIT) -> int | None:
    """Return the exit code; None if there is no end, and the command is killed."""
    try:
        return process.wait(PATIENCE * limit)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        return None


def run(folder: Path, *arguments: str) -> tuple[int | None, str]:
    """Run a command of the smoke configuration in a folder, as a check of what is there."""
    output = folder.parent / "more.txt"
    output.unlink(missing_ok=True)
    process = start_forked(folder, f"--config={SMOKE}", *TINY, *arguments, output=output)
    code = wait(process)
    return code, output.read_text(errors="replace")


def shell(
    name: str,
    line: str,
    *,
    codes: int | tuple[int, ...] = 2,
    says: str | tuple[str, ...] = (),
    files: Files | None = None,
    prepare: Prepare | None = None,
    environment: Mapping[str, str | None] | None = None,
    limit: float = LIMIT,
    leaves: tuple[str, ...] = TRACES,
    check: Check | None = None,
    quiet: bool = False,
) -> Case:
    """Make a case of a line of Bash, in which ``$CDCD`` is ``python -m cdcd_jax.main``.

    ``$SMOKE`` is a configuration and ``$TINY`` makes it small. The arguments are as for
    :func:`command`; ``quiet`` is for output that nobody gets, where no sentence need end it.
    """

    def start(folder: Path, output: Path) -> int | None:
        variables = {
            "CDCD": f"{sys.executable} -m cdcd_jax.main",
            "SMOKE": SMOKE,
            "TINY": " ".join(TINY),
        }
        with output.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", line],
                cwd=folder,
                env=_environment(folder, environment) | variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            try:
                return process.wait(PATIENCE * limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None

    return _case(name, start, codes, says, files, prepare, limit, leaves, check, quiet)


def _case(name, start, codes, says, files, prepare, limit, leaves, check, quiet=False) -> Case:
    right = (codes,) if isinstance(codes, int) else codes

    def attack(folder: Path) -> Outcome:
        here = folder / "here"
        here.mkdir()
        (folder / "tmp").mkdir()
        for path, content in (files or {}).items():
            (here / path).parent.mkdir(parents=True, exist_ok=True)
            (here / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        if prepare:
            prepare(here)
        before = _listing(here)
        code = start(here, folder / "output.txt")
        output = (folder / "output.txt").read_text(errors="replace")
        faults = []
        if code in (1, 2) and code in right:
            changed = _listing(here).items() ^ before.items()
            faults += sorted(
                {
                    f"left behind: {path}"
                    for path, _ in changed
                    if not any(fnmatch.fnmatchcase(path, pattern) for pattern in leaves)
                }
            )[:3]
            faults += [*faults_of(output), *([] if quiet else _sentence(output))]
        if check and code in right and (wrong := check(here)):
            faults.append(wrong)
        return Outcome(code, output, faults=tuple(faults))

    return Case(name, attack, right, (says,) if isinstance(says, str) else says, limit)


def faults_of(output: str) -> list[str]:
    """Say whether a failure was one that nobody has foreseen."""
    return ["nobody has foreseen this failure"] if "the trace is in" in output else []


def _sentence(output: str) -> list[str]:
    """Say whether the last words of a command that failed are one sentence."""
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("Error"):
        return ["the last line is not a sentence that begins with Error"]
    return ["more than 1,000 letters"] if len(lines[-1]) > 1000 else []


def _listing(folder: Path) -> dict[str, object]:
    """List all files of a folder with what changes when they are written."""
    listing = {}
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            facts = path.lstat()
            kind = facts.st_mode, 0 if path.is_dir() else (facts.st_size, facts.st_mtime_ns)
            listing[str(path.relative_to(folder))] = kind
    return listing


def _environment(folder: Path, more: Mapping[str, str | None] | None) -> dict[str, str]:
    environment = dict(
        os.environ | quick_environment(),
        JAX_PLATFORMS="cpu",
        JAX_COMPILATION_CACHE_DIR=_compiled(),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.1",
        PYTHONPATH=str(ROOT),
        TMPDIR=str(folder.parent / "tmp"),
    )
    environment |= {name: value for name, value in (more or {}).items() if value is not None}
    return {name: v for name, v in environment.items() if (more or {}).get(name, "") is not None}


@functools.cache
def _compiled() -> str:
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return given or _temporary("compiled")


def _temporary(name: str) -> str:
    folder = tempfile.mkdtemp(prefix=f"{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


SMALL = (
    "--config.schedule.num_steps=4",
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.denoiser.num_heads=2",
    "--config.optimizer.warmup_steps=1",
    "--config.train.batch_size=4",
    "--config.train.num_steps=2",
    "--config.train.sample_every=0",
    "--config.eval.num_samples=2",
    "--config.eval.num_steps=(2,)",
    "--config.condition.width=8",
)
GLYPHS = (
    f"{ROOT}/configs/glyphs_sample_inter.py:smoke",
    *SMALL,
    "--config.data.scripts=('digit',)",
)
"""A configuration and flags for a model of texts."""
GROOVE = (
    f"{ROOT}/configs/groove_sample_inter.py:smoke",
    *SMALL,
    "--config.data.num_dances=6",
    "--config.data.num_test_dances=6",
    "--config.data.dance_seconds=4.0",
    "--config.codec_fit.num_recordings=6",
)
"""A configuration and flags for a model of dances."""

_training = threading.Lock()


def trained_run(folder: Path) -> None:
    """Put a folder ``run`` there that was trained as ``TINY`` says, by copying one."""
    _copy(folder, SMOKE, *TINY)


def trained_glyphs(folder: Path) -> None:
    """Put a folder ``run`` there that was trained as ``GLYPHS`` says, by copying one."""
    _copy(folder, *GLYPHS)


def trained_groove(folder: Path) -> None:
    """Put a folder ``run`` there that was trained as ``GROOVE`` says, by copying one."""
    _copy(folder, *GROOVE)


def _copy(folder: Path, *training: str) -> None:
    with _training:
        source = _trained(*training)
    shutil.copytree(source, folder / "run")


@functools.cache
def _trained(config: str, *flags: str) -> Path:
    folder = Path(_temporary("trained"))
    case = command("train once", *flags, config=config, codes=0, limit=300)
    outcome = case.attack(folder)
    assert outcome.code == 0, outcome.output
    return folder / "here" / "run"
