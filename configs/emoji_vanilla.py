"""Another name of ``configs/emoji.py:vanilla``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import emoji

get_config = variants.with_contrast(emoji.get_config, "vanilla")
