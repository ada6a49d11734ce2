"""Photographs of groceries by class, sample-wise contrast with other classes (CDCD Eq. 4).

Command: ``python -m cdcd_jax.main --config=configs/grocery_sample_inter.py
--config.data.path=FOLDER``; codec and tokens are those of ``grocery_vanilla.py``, which says more.
Hardware: two CPU cores. Duration and results: docs/pictures.md.
"""

from typing import Any

from configs import grocery_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = grocery_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "inter"
    return config
