"""Settings that tests and the documentation's examples run under: strict JAX, eight CPU devices."""

import gc
import os

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

QUICK_TO_COMPILE = ("codecs", "diffusion", "networks", "planning", "training")
"""Folders whose slow tests, too, spend most of their time in LLVM, on programs that run once."""


def pytest_runtest_setup(item):
    """Leave LLVM's optimisations out of programs that run once, but for published numbers.

    Without them a sinusoid in float32 is off by 1e-5, which golden files show.
    """
    golden = "golden" in item.nodeid or "golden" in getattr(item, "fixturenames", ())
    quick = (
        item.get_closest_marker("slow") is None
        or item.get_closest_marker("quick_compilation") is not None
        or item.path.parent.name in QUICK_TO_COMPILE
    ) and item.get_closest_marker("much_computation") is None
    jax.config.update("jax_disable_most_optimizations", quick and not golden)


def pytest_collection_finish(session):
    """Leave what imports and collection made out of later garbage collections."""
    _freeze()


def pytest_runtest_teardown(item, nextitem):
    """Leave what a file of tests cached, too: a save of Orbax's collects several times."""
    if nextitem is None or nextitem.path != item.path:
        _freeze()


def _freeze():
    gc.collect()
    gc.freeze()
