"""Another name of ``configs/imagenet.py:step_intra``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import imagenet

get_config = variants.with_contrast(imagenet.get_config, "step_intra")
