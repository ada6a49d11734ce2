"""Another name of ``configs/groove.py:step_intra``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import groove

get_config = variants.with_contrast(groove.get_config, "step_intra")
