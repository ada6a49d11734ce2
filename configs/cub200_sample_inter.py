"""Another name of ``configs/cub200.py:sample_inter``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import cub200

get_config = variants.with_contrast(cub200.get_config, "sample_inter")
