"""The settings that all experiments on music for dances share: "groove", until others say.

Groove is synthetic: a stick figure dances to drum machines of five genres, made as they are read
(``cdcd_jax/data/groove.py``). A small Jukebox codec turns 2 s of sound into tokens.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import common


def get_config(arg: str = "") -> Any:
    """Return the settings of groove; ``configs/aist_*.py`` and ``tiktok_*.py`` enlarge them.

    Args:
        arg: ``""``, or ``"smoke"`` for a run of a minute or two.

    Returns:
        The configuration, a ``ConfigDict``.
    """
    config = common.get_config(arg)
    config.data = {
        "name": "groove",
        "path": config_dict.placeholder(str),
        "synthetic": False,  # True writes a miniature of the set into <workdir>/data
        "motion": "smpl",  # of AIST++; or "keypoints"
        "music": config_dict.placeholder(str),  # <path>/music unless given
        "video": config_dict.placeholder(str),
        "train_split": "train",
        "test_split": "test",
        "train_segments": config_dict.placeholder(str),
        "test_segments": config_dict.placeholder(str),
        "seconds": 2.0,
        "stride": 1.0,
        "test_stride": 2.0,
        "test_rest": config_dict.placeholder(float),  # one more window where so much is left
        "video_steps": 1,
        "intra": "tokens",
        "negatives": config_dict.placeholder(str),  # a list of each piece's inter negatives
        "num_dances": 160,
        "num_test_dances": 40,
        "dance_seconds": 20.0,
        "dance_seed": 0,
        "tokens": config_dict.placeholder(str),  # <workdir>/tokens unless given
        "num_threads": 1,
        "prefetch": 4,
    }
    config.prepare = {
        "views": 1,
        "shuffles": 0,
        "num_chunks": 8,
        "quietest": 0.3,
        "seed": 0,
        "shard_size": 1024,
        "batch_size": 32,
        "on_bad": "stop",
    }
    config.codec = {
        "name": "spectra",
        "folder": config_dict.placeholder(str),  # <workdir>/codec unless given
        "batch_size": 64,
        "hop": 512,
        "overlap": 2,
        "num_bands": 80,
        "num_codes": 512,
        "num_iterations": 32,
    }
    config.codec_fit = {"num_recordings": 160, "seconds": 10.0, "seed": 0}
    config.condition = {
        "kind": "dance",
        "dropout": 0.1,
        "encoder": "temporal",
        "motion": True,
        "video": False,
        "genre": False,
        "width": 96,
        "genre_width": 32,
        "group": 4,
        "num_layers": 2,
        "num_heads": 6,
        "hidden": 200,  # of the reference encoder, like the channels
        "channels": (32, 32, 64),
        "compute_dtype": "float32",
    }
    config.loss.num_chunks = 8
    # As for texts: the published 5e-4 leaves the condition unheard for several hundred steps.
    config.loss.aux_weight = 0.2
    config.eval.update(
        num_samples=200, num_steps=(50, 10), truncations=(0.86,), num_real=200, num_judged=1000
    )
    config.sample.num_samples = 8
    if arg == "smoke":
        _make_small(config)
    return config


def add_jukebox(config: Any) -> None:
    """Take a Jukebox codec, in place of one of spectra, with the published size and training."""
    del config.codec_fit
    config.codec = {
        "name": "jukebox",
        "folder": config_dict.placeholder(str),  # <workdir>/codec unless given
        "weights": config_dict.placeholder(str),
        "level": 2,
        "batch_size": 16,
        "downs": (3, 2, 2),
        "strides": (2, 2, 2),
        "multipliers": (2, 1, 1),
        "width": 32,
        "depth": 4,
        "dilation_growth": 3,
        "code_dim": 64,
        "num_codes": 2048,
        "compute_dtype": "float32",
    }
    config.codec_loss = {
        "waveform_weight": 1.0,
        "spectral_weight": 1.0,
        "log_spectral_weight": 0.0,
        "commitment_weight": 0.02,
        "codebook_decay": 0.99,
        "restart_below": 0.05,
    }
    config.codec_optimizer = common.get_config().optimizer
    config.codec_optimizer.update(lr=3e-4, warmup_steps=100, weight_decay=0.0, clip_norm=1.0)
    config.codec_train = {
        "seed": 0,
        "start_from": config_dict.placeholder(str),
        "seconds": 1.5,
        "quietest": 0.3,
        "batch_size": 8,
        "num_steps": 100_000,
        "num_microbatches": 1,
        "max_skipped": 5,
        "log_every": 20,
        "checkpoint_every": 200,
        "keep_checkpoints": 2,
        "sample_every": 2000,
    }


def _make_small(config: Any) -> None:
    config.data.update(num_dances=10, num_test_dances=5, dance_seconds=6.0)
    config.codec.update(num_codes=64, num_iterations=8)
    config.codec_fit.update(num_recordings=10, seconds=4.0)
    config.condition.update(width=24, num_layers=1, num_heads=2, group=12)
    config.eval.update(num_samples=10, num_steps=(10,), num_real=10, num_judged=30, batch_size=10)
    config.sample.num_samples = 4
