"""Handwritten digits, step-wise contrast with shuffled patches of the same digit (CDCD Eq. 3).

Command: ``python -m cdcd_jax.main --config=configs/digits_step_intra.py``; for a run of
seconds add ``:smoke`` to the name of the file. Hardware: two CPU cores. Duration and expected
metric: see README.
"""

from typing import Any

from cdcd_jax.configs import common


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = common.get_config(arg)
    config.loss.mechanism = "step"
    config.loss.negatives = "intra"
    return config
