"""The digits in miniature: what the configurations beside this file have in common."""

from typing import Any

from cdcd_jax.configs import common


def get_config() -> Any:
    """Return the settings of a training that takes seconds."""
    config = common.get_config("smoke")
    config.schedule.num_steps = 4
    config.denoiser.update(width=8, num_layers=1)
    config.optimizer.warmup_steps = 1
    config.train.update(num_steps=4, log_every=2, checkpoint_every=4, sample_every=0)
    config.eval.num_steps = (2,)
    return config
