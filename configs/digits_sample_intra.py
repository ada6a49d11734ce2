"""Another name of ``configs/digits.py:sample_intra``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import digits

get_config = variants.with_contrast(digits.get_config, "sample_intra")
