"""Settings every test runs under: strict JAX, eight CPU devices, golden files where they are."""

import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
# Most of the tests' time is LLVM's, on programs that run once: leave its optimisations out, not
# XLA's own. Commands that tests start on "one device, as on a laptop" are compiled as usual, and
# flags that are given from outside win.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_backend_optimization_level=0",
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
    ]
)

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

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


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile a module's functions without much thought, where they compute little."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
