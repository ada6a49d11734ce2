"""Golden files, where they are at hand."""

from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parents[1]
GOLDEN_FOLDERS = (HERE / "golden", HERE.parent.parent / "shared" / "golden")
"""Numbers computed by the published PyTorch code: a small choice travels with the tests, the whole
set may be beside the checkout."""


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
