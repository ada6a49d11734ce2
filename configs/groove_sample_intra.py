"""Music for synthetic dances, sample-wise contrast with music in disorder.

Command: ``python -m cdcd_jax.main --config=configs/groove_sample_intra.py``; see
``groove_vanilla.py``. Hardware: two CPU cores. Duration and results: docs/music.md.
"""

from typing import Any

from configs import groove_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = groove_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "intra"
    return config
