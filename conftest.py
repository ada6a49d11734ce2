"""Settings that tests and the documentation's examples run under: strict JAX, eight CPU devices."""

import gc
import os

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Most programs run a few times only, here and in processes that tests start, and most of the
# time is LLVM's.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_runtest_setup(item):
    """Leave LLVM's optimisations in what computes much, and in published numbers.

    Without them a sinusoid in float32 is off by 1e-5, which golden files show.
    """
    golden = "golden" in item.nodeid or "golden" in getattr(item, "fixturenames", ())
    optimized = golden or item.get_closest_marker("much_computation") is not None
    jax.config.update("jax_disable_most_optimizations", not optimized)


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
