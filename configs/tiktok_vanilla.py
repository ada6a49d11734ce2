"""Another name of ``configs/tiktok.py:vanilla``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import tiktok

get_config = variants.with_contrast(tiktok.get_config, "vanilla")
