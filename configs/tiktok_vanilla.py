"""Music for the dances of the TikTok Dance-Music set, no contrastive term: the baseline.

Command: ``python -m cdcd_jax.main --config=configs/tiktok_vanilla.py --config.data.path=FOLDER
--config.codec.weights=vqvae.pt`` (docs/music.md says where both come from); ``:4s`` and ``:6s``
make longer music, and ``:smoke`` writes all of these in miniature itself. Hardware: the
paper's 6 V100 days; not run here, ``--mode=plan`` says what it should take. Published (CDCD
Table 2): coverage 88.7, hit 81.4, by sampling that starts from the true music, which this does not.
"""

from typing import Any

from cdcd_jax.configs import miniature
from configs import aist_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is as for ``aist_vanilla.py``."""
    config = aist_vanilla.get_config("" if arg == "smoke" else arg)
    config.data.update(name="tiktok")
    config.schedule.num_steps = 100
    config.eval.num_steps = (100,)
    # 100 epochs of the authors' 2,384 pieces of 2 s.
    config.train.update(batch_size=48, num_steps=5000, checkpoint_every=500, sample_every=1000)
    config.condition.update(genre=False, group=2)  # 30 frames a second
    return miniature.of_music(config) if arg == "smoke" else config
