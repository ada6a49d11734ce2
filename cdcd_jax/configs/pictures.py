"""The settings that all experiments on tokens of pictures share: a VQGAN codec and its training.

The sections of ``common.py`` are kept, but for the data and the codec; those on the codec's
training are read only where it is trained here.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import common


def get_config(arg: str = "") -> Any:
    """Return the settings of pictures of 64x64; ``configs/imagenet_*.py`` enlarge them.

    Args:
        arg: ``""``, or ``"smoke"`` for a run of a minute or two on handwritten digits drawn as
            colour pictures of 32x32, which need no download.

    Returns:
        The configuration, a ``ConfigDict``.
    """
    config = common.get_config(arg)
    config.data = {
        "name": "folder",
        "path": config_dict.placeholder(str),
        "synthetic": False,  # True writes a miniature of the set into <workdir>/data
        "train_split": "train",
        "test_split": "test",
        "class_index": config_dict.placeholder(str),
        "negatives": config_dict.placeholder(str),
        "tokens": config_dict.placeholder(str),  # <workdir>/tokens unless given
        "num_threads": 2,
        "prefetch": 4,
    }
    config.prepare = {
        "views": 1,
        "crop": "center",
        "flip": False,
        "seed": 0,
        "shard_size": 4096,
        "batch_size": 32,
        "on_bad": "stop",
    }
    config.codec = {
        "name": "vqgan",
        "folder": config_dict.placeholder(str),  # <workdir>/codec unless given
        "weights": config_dict.placeholder(str),
        "used_codes": config_dict.placeholder(str),
        "unused": "nearest",
        "batch_size": 32,
        "image_size": 64,
        "channels": 32,
        "multipliers": (1, 1, 2, 4),
        "num_res_blocks": 1,
        "norm_groups": 4,
        "attention_resolutions": (8,),
        "latent_dim": 64,
        "code_dim": 32,
        "num_codes": 512,
        "quantizer": "vq",
        "compute_dtype": "float32",
    }
    config.eval.update(
        inception_weights=config_dict.placeholder(str),
        resnet_weights=config_dict.placeholder(str),
        reference=config_dict.placeholder(str),  # <workdir>/inception_reference.npz unless given
    )
    config.codec_loss = {
        "lpips_weights": config_dict.placeholder(str),
        "perceptual_weight": 1.0,
        "discriminator_channels": 32,
        "discriminator_layers": 2,
        "discriminator_weight": 0.1,
        "discriminator_start": 700,
        "commitment_weight": 0.25,
        "codebook_decay": 0.95,
        "restart_below": 0.05,
    }
    config.codec_optimizer = common.get_config().optimizer
    config.codec_optimizer.update(lr=4e-4, b1=0.5, b2=0.9, weight_decay=0.0, clip_norm=1.0)
    config.codec_train = {
        "seed": 0,
        "batch_size": 16,
        "num_steps": 1400,
        "num_microbatches": 1,
        "max_skipped": 5,
        "crop": "random",
        "flip": True,
        "log_every": 20,
        "checkpoint_every": 200,
        "keep_checkpoints": 2,
        "sample_every": 300,
    }
    if arg == "smoke":
        _make_small(config)
    return config


def _make_small(config: Any) -> None:
    config.data.name = "digit_pictures"
    config.prepare.shard_size = 500
    config.codec.update(
        image_size=32,
        channels=8,
        multipliers=(1, 2, 2),
        norm_groups=1,
        attention_resolutions=(),
        latent_dim=16,
        code_dim=8,
        num_codes=32,
        batch_size=100,
    )
    config.codec_loss.update(discriminator_channels=4, discriminator_start=10)
    config.codec_optimizer.update(warmup_steps=5)
    config.codec_train.update(
        num_steps=20, log_every=5, checkpoint_every=10, sample_every=10, flip=False
    )
