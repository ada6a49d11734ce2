"""Another name of ``configs/cub200.py:vanilla``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import cub200

get_config = variants.with_contrast(cub200.get_config, "vanilla")
