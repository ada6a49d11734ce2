"""Music for the dances of AIST++, sample-wise contrast with music of other genres.

Command: ``python -m cdcd_jax.main --config=configs/aist_sample_inter.py`` with the flags that
``aist_vanilla.py`` explains, and its variants. Hardware: the paper's 8 V100 days; not run here.
Published (CDCD Table 1): coverage 91.8, hit 86.9, genre 27.2.
"""

from typing import Any

from configs import aist_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is as for ``aist_vanilla.py``."""
    config = aist_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "inter"
    return config
