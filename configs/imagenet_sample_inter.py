"""Another name of ``configs/imagenet.py:sample_inter``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import imagenet

get_config = variants.with_contrast(imagenet.get_config, "sample_inter")
