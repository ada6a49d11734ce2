"""Settings every test runs under: strict JAX, eight CPU devices, golden files where they are."""

import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
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


QUICK_TO_COMPILE = ("codecs", "diffusion", "networks", "training")
"""Folders whose tests spend most of their time in LLVM, on programs that run once."""


def pytest_runtest_setup(item):
    """Leave LLVM's optimisations out of programs that run once, but for published numbers.

    Without them a sinusoid in float32 is off by 1e-5, which golden files show.
    """
    golden = "golden" in item.nodeid or "golden" in item.fixturenames
    quick = item.path.parent.name in QUICK_TO_COMPILE or item.get_closest_marker(
        "quick_compilation"
    )
    jax.config.update("jax_disable_most_optimizations", bool(quick and not golden))


def pytest_runtest_teardown(item):
    """Compile what has no such hook, the documentation's examples, as usual."""
    jax.config.update("jax_disable_most_optimizations", False)


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
