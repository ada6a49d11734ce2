"""ImageNet by class at 256x256, step-wise contrast with the picture's shuffled patches (Eq. 3).

Command: ``python -m cdcd_jax.main --config=configs/imagenet_step_intra.py`` with the flags that
``imagenet_vanilla.py`` explains; add ``:smoke`` to the name of the file for a run of a minute or
two that needs none of them. Hardware: as the others'; not run here, and not in the paper's table.
"""

from typing import Any

from configs import imagenet_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = imagenet_vanilla.get_config(arg)
    config.loss.mechanism = "step"
    config.loss.negatives = "intra"
    return config
