"""Emoji in four art styles from names and keywords, sample-wise contrast with other emoji.

Command: ``python -m cdcd_jax.main --config=configs/emoji_sample_inter.py
--config.data.path=FOLDER``; see ``emoji_vanilla.py``. Hardware: two CPU cores. Duration and
results: docs/texts.md.
"""

from typing import Any

from configs import emoji_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = emoji_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "inter"
    return config
