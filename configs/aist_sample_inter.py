"""Another name of ``configs/aist.py:sample_inter``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import aist

get_config = variants.with_contrast(aist.get_config, "sample_inter")
