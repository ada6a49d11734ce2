"""Initialisation of JAX's devices, and where the programs compiled for them are kept."""

import os
import tempfile
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from cdcd_jax.distributed.hosts import explain_loss


def start_devices() -> None:
    """Start the devices; all hosts of a run do so together.

    Raises:
        ValueError: If JAX has none of those that ``JAX_PLATFORMS`` names.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        if explain_loss(error):
            raise
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise ValueError(
            f"JAX_PLATFORMS = {wanted!r}: JAX finds no such device "
            f"({str(error) or type(error).__name__}); set JAX_PLATFORMS=cpu, or install JAX for "
            "the devices of this machine"
        ) from error


def keep_programs(folder: Path) -> None:
    """Keep compiled programs, so that a run that starts again takes them from there.

    Host 0 writes, all hosts read. A program is found by its text, its options, the versions of JAX
    and of the compiler, and the devices. What instructions a CPU has is not among these, so its
    programs are only kept where ``JAX_COMPILATION_CACHE_DIR`` names a folder.

    Args:
        folder: Where to keep them, unless that variable names another one.
    """
    chosen: str | None = jax.config.values["jax_compilation_cache_dir"]
    if chosen is None and jax.default_backend() == "cpu":
        return
    place = chosen or str(folder)
    if jax.process_index() == 0 and "://" not in place:
        try:
            Path(place).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            print(
                f"Compiled programs are not kept, so each start compiles them: {error}; set "
                "JAX_COMPILATION_CACHE_DIR to a folder that can be written"
            )
            place = None
    jax.config.update("jax_compilation_cache_dir", place)
    compilation_cache.reset_cache()  # which else keeps to the folder it knows
