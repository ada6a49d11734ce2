"""Another name of ``configs/coco.py:step_intra``, with whose variants it combines."""

from cdcd_jax.configs import variants
from configs import coco

get_config = variants.with_contrast(coco.get_config, "step_intra")
