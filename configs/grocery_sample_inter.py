"""Another name of ``configs/grocery.py:sample_inter``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import grocery

get_config = variants.with_contrast(grocery.get_config, "sample_inter")
