"""Another name of ``configs/emoji.py:sample_inter``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import emoji

get_config = variants.with_contrast(emoji.get_config, "sample_inter")
