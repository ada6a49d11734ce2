"""Settings shared by all dance-to-music experiments; the data set is groove.

Groove is synthetic: a stick figure dances to drum machines of five genres, made as they are read
(``cdcd_jax/data/toy/groove.py``). A small Jukebox codec turns 2 s of sound into tokens.
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
        "synthetic": False,
        # Form of the dances' motion: smpl or keypoints.
        "motion": "smpl",
        # Folder of the music; <path>/music unless given.
        "music": config_dict.placeholder(str),
        # Folder of features of the videos, where the condition has them.
        "video": config_dict.placeholder(str),
        "train_split": "train",
        "test_split": "test",
        # File that lists the pieces to train on; all unless given.
        "train_segments": config_dict.placeholder(str),
        # File that lists the pieces to test on.
        "test_segments": config_dict.placeholder(str),
        # Length of a piece.
        "seconds": 2.0,
        # Seconds between the beginnings of two training pieces.
        "stride": 1.0,
        # The same for test pieces.
        "test_stride": 2.0,
        # Add one more test piece, which ends with its dance, where so many seconds are left.
        "test_rest": config_dict.placeholder(float),
        # Steps of the features of the video in a piece, the nearest ones.
        "video_steps": 1,
        # What intra negatives shuffle: tokens, or the waveform before it is encoded.
        "intra": "tokens",
        "negatives": config_dict.placeholder(str),
        # Synthetic dances to train on.
        "num_dances": 160,
        # Synthetic dances to test on.
        "num_test_dances": 40,
        # Length of a synthetic dance.
        "dance_seconds": 20.0,
        # Seed of the synthetic dances.
        "dance_seed": 0,
        "tokens": config_dict.placeholder(str),
        "num_threads": 1,
        "prefetch": 4,
    }
    config.prepare = {
        "views": 1,
        # Copies of each piece in disorder, which are intra negatives.
        "shuffles": 0,
        # Chunks of the waveform that these are cut in.
        "num_chunks": 8,
        # Lowest amplitude of the copies.
        "quietest": 0.3,
        "seed": 0,
        "shard_size": 1024,
        "batch_size": 32,
        "on_bad": "stop",
    }
    config.codec = {
        "name": "spectra",
        "folder": config_dict.placeholder(str),
        "batch_size": 64,
        # Samples of sound in a token.
        "hop": 512,
        # Tokens that a frame of the spectrum spans.
        "overlap": 2,
        # Bands that a spectrum is described by.
        "num_bands": 80,
        "num_codes": 512,
        # Iterations of the search for phases, when tokens become sound.
        "num_iterations": 32,
    }
    config.codec_fit = {
        # Recordings that the codes are found in.
        "num_recordings": 160,
        # How much of each.
        "seconds": 10.0,
        "seed": 0,
    }
    config.condition = {
        "kind": "dance",
        "dropout": 0.1,
        # How motion is read: temporal (features with their times) or reference (one token, as the
        # published models).
        "encoder": "temporal",
        # Whether the model is given the motion.
        "motion": True,
        # Whether it is given the video; where there is one unless given.
        "video": False,
        # Whether it is given the genre.
        "genre": False,
        "width": 96,
        # Features of the genre.
        "genre_width": 32,
        # Frames that become one token.
        "group": 4,
        "num_layers": 2,
        "num_heads": 6,
        # Features of the reference encoder's frames.
        "hidden": 200,
        # Features of the reference encoder's stages.
        "channels": (32, 32, 64),
        # Of the encoder's activations: float32 or bfloat16.
        "compute_dtype": "float32",
    }
    # Chunks that the intra negatives of a sequence are cut in.
    config.loss.num_chunks = 8
    # As for texts: the published 5e-4 leaves the condition unheard for several hundred steps.
    config.loss.aux_weight = 0.2
    config.eval.update(
        num_samples=200,
        num_steps=(50, 10),
        truncations=(0.86,),
        num_real=200,
        # Pieces that the reference classifier of genres is fitted to, at most.
        num_judged=1000,
    )
    config.sample.num_samples = 8
    if arg == "smoke":
        _make_small(config)
    return config


def add_jukebox(config: Any) -> None:
    """Replace the codec of spectra by a Jukebox codec of the published size and training."""
    del config.codec_fit
    config.codec = {
        "name": "jukebox",
        "folder": config_dict.placeholder(str),
        "weights": config_dict.placeholder(str),
        # Level of the codec that gives the tokens, 0 for the bottom.
        "level": 2,
        "batch_size": 16,
        # How often each level shortens what the level below it has.
        "downs": (3, 2, 2),
        # By how much at a time.
        "strides": (2, 2, 2),
        "multipliers": (2, 1, 1),
        # Features between the layers.
        "width": 32,
        # Residual blocks after each shortening.
        "depth": 4,
        # How many times as far each residual block reaches as the one before.
        "dilation_growth": 3,
        "code_dim": 64,
        "num_codes": 2048,
        "compute_dtype": "float32",
    }
    config.codec_loss = {
        # Weight of the distance of waveforms.
        "waveform_weight": 1.0,
        # Weight of the distance of spectra.
        "spectral_weight": 1.0,
        # Weight of the distance of logarithmic spectra.
        "log_spectral_weight": 0.0,
        "commitment_weight": 0.02,
        "codebook_decay": 0.99,
        "restart_below": 0.05,
    }
    config.codec_optimizer = common.get_config().optimizer
    config.codec_optimizer.update(lr=3e-4, warmup_steps=100, weight_decay=0.0, clip_norm=1.0)
    config.codec_train = {
        "seed": 0,
        # Weights of a codec to start from.
        "start_from": config_dict.placeholder(str),
        # Length of a training crop.
        "seconds": 1.5,
        # Lowest amplitude that a crop is scaled to.
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
