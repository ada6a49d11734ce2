"""Handwritten digits without a contrastive term: the baseline (VQ-Diffusion).

Command: ``python -m cdcd_jax.main --config=configs/digits_vanilla.py``; for a run of
seconds add ``:smoke`` to the name of the file. Hardware: two CPU cores. Duration and expected
metric: see README.
"""

from typing import Any

from cdcd_jax.configs import common


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = common.get_config(arg)
    config.loss.mechanism = "none"
    return config
