"""Handwritten digits of 8x8 pixels by class; they come with scikit-learn.

Command: ``python -m cdcd_jax.main --config=configs/digits.py:sample_inter``, about four minutes on
two CPU cores. Expected: 1.88 bits per token; a classifier recognises 98.8% of the samples, against
96.1% of real test digits (README).

Variants: ``vanilla`` (the baseline), ``step_intra``, ``step_inter``, ``sample_intra`` or
``sample_inter``; and ``smoke`` for a run of seconds, as in ``digits.py:sample_inter,smoke``.
"""

from typing import Any

from cdcd_jax.configs import common, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg)
    config = common.get_config(size)
    variants.set_contrast(config, contrast)
    return config
