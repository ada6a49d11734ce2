"""Miniature versions of experiments: the same stages on small synthetic files.

What these functions leave alone is the experiment's own: reader, kinds of codec and condition,
negatives, metrics, optimizer. Sizes shrink, and ``data.synthetic`` has the run write its data.
"""

from typing import Any

from cdcd_jax.configs import common


def of_images(config: Any) -> Any:
    """Return the miniature of an experiment on images, for a run of less than a minute.

    Args:
        config: The configuration at full size.
    """
    size = 4 * 2 ** (len(config.codec.multipliers) - 1)  # a grid of 4 x 4 tokens
    config.codec.update(
        batch_size=16, image_size=size, channels=4, num_res_blocks=1, norm_groups=1,
        attention_resolutions=(4,), latent_dim=8, code_dim=8, num_codes=32,
        compute_dtype="float32",
    )  # fmt: skip
    config.codec_loss.update(
        discriminator_channels=4, discriminator_layers=1, discriminator_start=2
    )
    config.prepare.batch_size = 16
    if config.loss.positions_per_pass is not None:
        config.loss.positions_per_pass = 8  # of 16
    config.eval.update(num_samples=16, num_real=16)
    return _shrink(config)


def of_music(config: Any) -> Any:
    """Return the miniature of an experiment on music, for a run of less than a minute.

    Args:
        config: The configuration at full size.
    """
    config.codec.update(batch_size=8, strides=(4, 2, 2), width=4, depth=1, code_dim=4, num_codes=16)
    config.codec_train.seconds = 0.4
    config.prepare.update(views=2, shuffles=2, batch_size=8)
    config.condition.update(
        width=16, genre_width=4, num_layers=1, num_heads=2, hidden=8, channels=(4, 4, 8)
    )
    config.eval.update(num_samples=4, num_real=8, num_judged=16)
    return _shrink(config)


def _shrink(config: Any) -> Any:
    config.data.update(synthetic=True, tokens=None, num_threads=1)
    config.codec.folder = None
    config.schedule.num_steps = 10
    config.loss.num_negatives = 2
    config.denoiser.update(
        num_layers=2, width=16, num_heads=2, mlp_ratio=2, compute_dtype="float32", remat="none"
    )
    small = common.get_config("smoke").train
    counts = {name: small[name] for name in ("num_steps", "log_every", "checkpoint_every",
                                             "sample_every")}  # fmt: skip
    config.train.update(batch_size=8, ema_every=1, **counts)
    config.codec_train.update(batch_size=8, **counts)
    for optimizer in (config.optimizer, config.codec_optimizer):
        optimizer.warmup_steps = 5
    config.eval.update(num_steps=(10,), batch_size=8)
    config.sample.num_samples = 4
    return config
