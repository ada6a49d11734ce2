"""Settings shared by all experiments on tokens of images: a VQGAN codec and its training.

The sections of ``common.py`` are kept, but for the data and the codec; those on the codec's
training are read only where it is trained here.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import common


def get_config(arg: str = "") -> Any:
    """Return the settings of images of 64x64; ``configs/imagenet_*.py`` enlarge them.

    Args:
        arg: ``""``, or ``"smoke"`` for a run of a minute or two on handwritten digits drawn as
            colour images of 32x32, which need no download.

    Returns:
        The configuration, a ``ConfigDict``.
    """
    config = common.get_config(arg)
    config.data = {
        "name": "folder",
        # Folder of the data, as it was downloaded.
        "path": config_dict.placeholder(str),
        # Write a miniature of the set into <workdir>/data and use it.
        "synthetic": False,
        # Name of the part to train on.
        "train_split": "train",
        # Name of the part to test on.
        "test_split": "test",
        # ImageNet's file of class names, where the folder has none.
        "class_index": config_dict.placeholder(str),
        # File that lists the inter negatives of each example; all of other labels unless given.
        "negatives": config_dict.placeholder(str),
        # Folder of the prepared tokens; <workdir>/tokens unless given.
        "tokens": config_dict.placeholder(str),
        "num_threads": 2,
        "prefetch": 4,
    }
    config.prepare = {
        # Random crops, or copies of music, of each example that are encoded.
        "views": 1,
        # Square that is cut out: center, random or dalle.
        "crop": "center",
        # Mirror random squares at random.
        "flip": False,
        # Seed of crops and copies.
        "seed": 0,
        # Examples in a file of tokens.
        "shard_size": 4096,
        # Examples that are encoded at once.
        "batch_size": 32,
        # What to do with what cannot be read: stop or skip.
        "on_bad": "stop",
    }
    config.codec = {
        "name": "vqgan",
        # Folder of the trained codec; <workdir>/codec unless given.
        "folder": config_dict.placeholder(str),
        # Published weights to load in place of training.
        "weights": config_dict.placeholder(str),
        # File that lists the codes in use, which become the tokens; all unless given.
        "used_codes": config_dict.placeholder(str),
        # What becomes of a code that used_codes leaves out: nearest takes the nearest code of the
        # list, first takes token 0, as the published code.
        "unused": "nearest",
        # Examples that are encoded or decoded at once.
        "batch_size": 32,
        # Height and width of the images.
        "image_size": 64,
        # Features at full size.
        "channels": 32,
        # Features at each size, in units of channels, each size but the first half of the one
        # before; of jukebox, width and depth of each level in units of width and depth.
        "multipliers": (1, 1, 2, 4),
        # Residual blocks at each size.
        "num_res_blocks": 1,
        # Groups of features that a norm takes together.
        "norm_groups": 4,
        # Sizes at which there is attention.
        "attention_resolutions": (8,),
        # Features between encoder and quantiser.
        "latent_dim": 64,
        # Length of a code's vector.
        "code_dim": 32,
        # Number of codes.
        "num_codes": 512,
        # How a code is chosen: vq (the nearest) or gumbel (by a linear layer).
        "quantizer": "vq",
        # Of activations: float32 or bfloat16.
        "compute_dtype": "float32",
    }
    config.eval.update(
        # File of InceptionV3's weights, for FID, precision, recall and KID.
        inception_weights=config_dict.placeholder(str),
        # File of ResNet-101's weights, for the accuracy on ImageNet.
        resnet_weights=config_dict.placeholder(str),
        # File of real features to compare with; <workdir>/inception_reference.npz unless given.
        reference=config_dict.placeholder(str),
    )
    config.codec_loss = {
        # File of the perceptual distance's weights (LPIPS); a simpler distance unless given.
        "lpips_weights": config_dict.placeholder(str),
        # Weight of the perceptual distance.
        "perceptual_weight": 1.0,
        # Features of the critic's first layer.
        "discriminator_channels": 32,
        # Layers of the critic that halve the image.
        "discriminator_layers": 2,
        # Weight of the adversarial loss; 0 trains without a critic.
        "discriminator_weight": 0.1,
        # Updates before the critic takes part.
        "discriminator_start": 700,
        # Weight of the distance from features to their codes.
        "commitment_weight": 0.25,
        # Share of the past that the codes' running means keep.
        "codebook_decay": 0.95,
        # Share of an even use below which a code is moved onto a feature of the batch.
        "restart_below": 0.05,
    }
    config.codec_optimizer = common.get_config().optimizer
    config.codec_optimizer.update(lr=4e-4, b1=0.5, b2=0.9, weight_decay=0.0, clip_norm=1.0)
    config.codec_train = {
        # Seed of parameters and batches.
        "seed": 0,
        # Examples of an update.
        "batch_size": 16,
        # Updates in all.
        "num_steps": 1400,
        # Parts that a batch is worked through in.
        "num_microbatches": 1,
        # Updates in a row whose loss or gradient may be not finite.
        "max_skipped": 5,
        # Square that is cut out: center, random or dalle.
        "crop": "random",
        # Mirror images at random.
        "flip": True,
        # Updates between two lines of metrics.
        "log_every": 20,
        # Updates between two checkpoints.
        "checkpoint_every": 200,
        # Newest checkpoints that are kept.
        "keep_checkpoints": 2,
        # Updates between two images of reconstructions.
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
