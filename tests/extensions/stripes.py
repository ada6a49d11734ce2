"""Stripes, with the data set, the condition and the metric in the file beside this one."""

from typing import Any

import brightness  # type: ignore[import-not-found]  # noqa: F401  which registers them

from cdcd_jax.configs import common


def get_config() -> Any:
    """Return the settings of a training that takes seconds."""
    config = common.get_config("smoke")
    config.data.name = "stripes"
    config.data.num_stripes = 64
    config.codec.update(vocab_size=2, grid=(4, 4))
    config.condition.kind = "direction"
    config.schedule.num_steps = 4
    config.denoiser.update(width=8, num_layers=1)
    config.optimizer.warmup_steps = 1
    config.train.update(num_steps=4, log_every=2, checkpoint_every=4, sample_every=0)
    config.eval.update(num_steps=(2,), num_real=32)
    config.eval.metrics = ("brightness",)
    return config
