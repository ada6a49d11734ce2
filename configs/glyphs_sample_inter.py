"""Letters drawn from their Unicode names and a style, sample-wise contrast with other letters.

Command: ``python -m cdcd_jax.main --config=configs/glyphs_sample_inter.py``; see
``glyphs_vanilla.py``. Hardware: two CPU cores. Duration and expected metric: docs/texts.md.
"""

from typing import Any

from configs import glyphs_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = glyphs_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "inter"
    return config
