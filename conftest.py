"""Settings that tests and the documentation's examples run under: strict JAX, eight CPU devices."""

import functools
import gc
import os

from tests.support.quick_compile import DEFAULTS, quick_environment

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ.update(quick_environment(num_devices=8))  # processes that tests start compile so, too

import jax
from jax._src import compiler  # Options of every compilation have no public name.

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_runtest_setup(item):
    """Compile what computes much, and published numbers, as users do.

    Without LLVM's optimisations a sinusoid in float32 is off by 1e-5, which golden files show.
    """
    golden = "golden" in item.nodeid or "golden" in getattr(item, "fixturenames", ())
    optimized = golden or item.get_closest_marker("much_computation") is not None
    jax.config.update("jax_disable_most_optimizations", not optimized)
    compiler.get_compile_options = _as_users if optimized else _as_processes


_as_processes = compiler.get_compile_options


@functools.wraps(_as_processes)
def _as_users(*arguments, env_options_overrides=None, **options):
    overrides = DEFAULTS | (env_options_overrides or {})
    return _as_processes(*arguments, env_options_overrides=overrides, **options)


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
