"""Golden files by name, and commands that need no imports."""

import json
import os
from pathlib import Path

import pytest

from tests.support.command_here import CommandHere, compiled_in
from tests.support.fork_server import shared_server
from tests.support.golden_files import load_golden
from tests.support.quick_compile import quick_environment

ROOT = Path(__file__).parents[1]
os.environ.setdefault("ADVERSARIAL_PATIENCE", "10")  # no test fails since the machine is busy


@pytest.fixture
def golden():
    """Load golden files by name, e.g. ``golden("loss/image_vanilla_K16_L24_T10_N10.npz")``."""
    return load_golden


@pytest.fixture(scope="session")
def fork_server():
    """Start commands by a fork instead of by their imports."""
    return shared_server()


@pytest.fixture
def run_forked(fork_server, tmp_path):
    """Run a command to its end in a process of its own; return its exit code and its output."""
    environment = dict(os.environ, JAX_PLATFORMS="cpu") | quick_environment()

    def run_forked(*arguments):
        process = fork_server.popen(
            list(arguments),
            env=environment,
            stdout=tmp_path / f"output{len(list(tmp_path.iterdir()))}.txt",
        )
        output = process.finish(600)
        return process.returncode, output

    return run_forked


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """Compile each function once for all commands of a module."""
    with compiled_in(tmp_path_factory.mktemp("compiled")):
        yield


@pytest.fixture
def run_here(compile_once, monkeypatch, capsys):
    """Run the command in this process on one device; return its exit code and what it printed."""
    return CommandHere(monkeypatch, capsys)


@pytest.fixture
def run_benchmark(fork_server, tmp_path):
    """Run a benchmark in a process of its own and return what it prints and what it writes."""
    environment = os.environ | quick_environment()

    def run_benchmark(module, options, path):
        process = fork_server.popen(
            [*options.split(), "--json", str(path)],
            program=ROOT / "benchmarks" / f"{module}.py",
            env=environment,
            stdout=tmp_path / "printed.txt",
            stderr=tmp_path / "complaints.txt",
        )
        printed = process.finish()
        assert process.returncode == 0, (tmp_path / "complaints.txt").read_text()
        return printed, json.loads(path.read_text())

    return run_benchmark
