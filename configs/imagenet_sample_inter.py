"""ImageNet by class at 256x256, sample-wise contrast with other classes (CDCD Eq. 4).

Command: ``python -m cdcd_jax.main --config=configs/imagenet_sample_inter.py`` with the flags that
``imagenet_vanilla.py`` explains; add ``:smoke`` to the name of the file for a run of a minute or
two that needs none of them. Hardware: the paper's 160 V100 days; not run here. Published (CDCD
Table 4): FID 11.74, accuracy 77.63.
"""

from typing import Any

from configs import imagenet_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = imagenet_vanilla.get_config(arg)
    config.loss.mechanism = "sample"
    config.loss.negatives = "inter"
    return config
