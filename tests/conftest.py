"""Golden files, where they are at hand, and commands that need no imports."""

from pathlib import Path

import numpy as np
import pytest
from command_here import CommandHere, compiled_in
from fork_server import shared_server

HERE = Path(__file__).parent
GOLDEN_FOLDERS = (HERE / "golden", HERE.parent.parent / "shared" / "golden")
"""Numbers computed by the published PyTorch code: a small choice travels with the tests, the whole
set may lie beside the checkout."""


def find_golden(name: str) -> Path:
    """Return the path of a golden file, or skip the test where it is not at hand."""
    for folder in GOLDEN_FOLDERS:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name} is not among the golden files at hand")


def load_golden(name: str) -> dict[str, np.ndarray]:
    """Load a golden ``.npz`` file as a dict of arrays."""
    with np.load(find_golden(name)) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture
def golden():
    """Load golden files by name, e.g. ``golden("loss/image_vanilla_K16_L24_T10_N10.npz")``."""
    return load_golden


@pytest.fixture(scope="session")
def fork_server():
    """Start commands by a fork instead of by their imports."""
    return shared_server()


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """Compile each function once for all commands of a module."""
    with compiled_in(tmp_path_factory.mktemp("compiled")):
        yield


@pytest.fixture
def run_here(compile_once, monkeypatch, capsys):
    """Run the command in this process on one device; return its exit code and what it printed."""
    command = CommandHere(monkeypatch, capsys)
    yield command
    command.close()
