"""Benchmarks as a user runs them, without their imports."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_benchmark(fork_server, tmp_path):
    """Run a benchmark in a process of its own and return what it prints and what it writes."""
    # Nothing here says how fast it is, and most of the time is LLVM's.
    environment = dict(os.environ, XLA_FLAGS="", JAX_DISABLE_MOST_OPTIMIZATIONS="1")

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
