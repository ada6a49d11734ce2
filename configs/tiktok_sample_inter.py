"""Music for TikTok dances, sample-wise contrast with music of other dances.

Command: ``python -m cdcd_jax.main --config=configs/tiktok_sample_inter.py`` with the flags that
``tiktok_vanilla.py`` explains, and its variants. Hardware: the paper's 6 V100 days; not run here.
Published (CDCD Table 2): coverage 90.1, hit 85.5.
"""

from typing import Any

from configs import tiktok_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is as for ``tiktok_vanilla.py``."""
    config = tiktok_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "inter"
    return config
