"""Music for synthetic dances: a stick figure and drum machines of five genres, no download.

Command: ``python -m cdcd_jax.main --config=configs/groove.py:sample_inter``: it fits a codebook of
spectra if there is none in ``runs/groove_codec``, prepares the tokens, trains (7 minutes on two
shared CPU cores) and evaluates. Expected: 2.80 bits per token, onset F 83%, alignment 0.84, every
genre recognised (docs/results/music.md).

Variants: ``vanilla`` (the baseline), ``step_intra``, ``step_inter``, ``sample_intra`` or
``sample_inter``; and ``smoke`` for a run of a minute or two.
"""

from typing import Any

from cdcd_jax.configs import music, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg)
    config = music.get_config(size)
    variants.set_contrast(config, contrast)
    if size == "smoke":
        return config
    config.codec.folder = "runs/groove_codec"
    config.data.tokens = "runs/groove_tokens"
    config.train.update(batch_size=32, num_steps=1000, sample_every=500)
    config.optimizer.lr = 1e-3
    return config
