"""Music for TikTok dances, step-wise contrast with the same music in disorder.

Command: ``python -m cdcd_jax.main --config=configs/tiktok_step_intra.py`` with the flags that
``tiktok_vanilla.py`` explains, and its variants. Hardware: the paper's 6 V100 days; not run here.
Published (CDCD Table 2): coverage 91.8, hit 86.3.
"""

from typing import Any

from configs import tiktok_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is as for ``tiktok_vanilla.py``."""
    config = tiktok_vanilla.get_config(arg)
    config.loss.mechanism = "step"
    config.loss.negatives = "intra"
    return config
