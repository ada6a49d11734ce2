"""Digits drawn as images, whose tokens are of a codec in the file beside this one."""

from typing import Any

import binary_patches  # type: ignore[import-not-found]  # noqa: F401  which registers it

from cdcd_jax.configs import images


def get_config() -> Any:
    """Return the settings of a training that takes a second."""
    config = images.get_config("smoke")
    del config.codec_loss, config.codec_optimizer, config.codec_train
    config.codec = {"name": "binary_patches", "image_size": 16}
    config.codec_fit = {"num_pictures": 50}
    config.schedule.num_steps = 4
    config.denoiser.update(width=16, num_heads=2, num_layers=1)
    config.optimizer.warmup_steps = 1
    config.train.update(batch_size=4, num_steps=2, log_every=1, checkpoint_every=2, sample_every=0)
    config.eval.update(num_samples=20, num_steps=(2,), batch_size=20, num_real=100)
    config.sample.update(num_samples=10, num_steps=2)
    return config
