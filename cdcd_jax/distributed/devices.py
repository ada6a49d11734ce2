"""Initialisation of JAX's devices, with a clear error where there are none."""

import os

import jax

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
