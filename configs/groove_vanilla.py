"""Music for synthetic dances, no contrastive term: the baseline.

Command: ``python -m cdcd_jax.main --config=configs/groove_vanilla.py``. It trains the codec if
there is none in ``runs/groove_codec``, prepares the tokens, trains the diffusion and evaluates.
Hardware: two CPU cores. Duration and results: docs/music.md.
"""

from typing import Any

from cdcd_jax.configs import music


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = music.get_config(arg)
    if arg == "smoke":
        return config
    config.codec.folder = "runs/groove_codec"
    config.data.tokens = "runs/groove_tokens"
    config.train.update(batch_size=32, num_steps=1000, sample_every=500)
    config.optimizer.lr = 1e-3
    return config
