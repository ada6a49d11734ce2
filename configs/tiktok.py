"""Music for the dances of the TikTok Dance-Music set at the paper's size (CDCD Table 2).

Command: ``python -m cdcd_jax.main --config=configs/tiktok.py:step_intra --config.data.path=FOLDER
--config.codec.weights=vqvae.pt`` (docs/guides/music.md says where both come from). Hardware: the
paper's 6 V100 days; not run here, ``--mode=plan`` says what it should take.

Published: coverage 88.7 and hit 81.4 for ``vanilla``, 91.8 and 86.3 for ``step_intra``, 90.1 and
85.5 for ``sample_inter``; by sampling that starts from the true music, which this does not.

Variants: those of ``aist.py``.
"""

from typing import Any

from cdcd_jax.configs import miniature, variants
from configs import aist


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"step_intra,6s"``."""
    contrast, size = variants.parse(
        arg, ("vanilla", "step_intra", "sample_inter"), sizes=("4s", "6s", "smoke")
    )
    config = aist.get_config(f"{contrast},{size}".removesuffix("smoke"))
    config.data.update(name="tiktok")
    config.schedule.num_steps = 100
    config.eval.num_steps = (100,)
    # 100 epochs of the authors' 2,384 pieces of 2 s.
    config.train.update(batch_size=48, num_steps=5000, checkpoint_every=500, sample_every=1000)
    config.condition.update(genre=False, group=2)  # 30 frames a second
    return miniature.of_music(config) if size == "smoke" else config
