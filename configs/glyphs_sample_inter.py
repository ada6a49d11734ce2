"""Another name of ``configs/glyphs.py:sample_inter``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import glyphs

get_config = variants.with_contrast(glyphs.get_config, "sample_inter")
