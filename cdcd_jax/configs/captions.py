"""Settings shared by all small experiments on captioned images; the data set is glyphs.

Images are cut in patches of 4x4 pixels, each coded by the nearest of a codebook that is found in
seconds; captions are read by a small transformer that is trained with the denoiser.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import common


def get_config(arg: str = "") -> Any:
    """Return the settings of glyphs of 32x32; ``configs/coco_*.py`` replace most of them.

    Args:
        arg: ``""``, or ``"smoke"`` for a run of a minute or two.

    Returns:
        The configuration, a ``ConfigDict``.
    """
    config = common.get_config(arg)
    config.data = {
        "name": "glyphs",
        "path": config_dict.placeholder(str),
        "synthetic": False,
        "train_split": "train",
        "test_split": "test",
        # Alphabets of the glyphs; all unless given.
        "scripts": (),
        # Slightly different drawings of each glyph.
        "num_variants": 1,
        "negatives": config_dict.placeholder(str),
        "tokens": config_dict.placeholder(str),
        "num_threads": 2,
        "prefetch": 4,
    }
    config.prepare = {
        "views": 1,
        "crop": "center",
        "flip": False,
        "seed": 0,
        "shard_size": 4096,
        "batch_size": 256,
        "on_bad": "stop",
    }
    config.codec = {
        "name": "patches",
        "folder": config_dict.placeholder(str),
        "image_size": 32,
        # Height and width of the patches that become tokens.
        "patch_size": 4,
        "num_codes": 512,
        "batch_size": 256,
    }
    config.codec_fit = {
        # Images that the codes are found in.
        "num_pictures": 4000,
        # Seed of their choice and of k-means.
        "seed": 0,
    }
    config.condition = {
        "kind": "text",
        "dropout": 0.1,
        # What replaces a condition that is left out: learned features, or the empty text.
        "null": "learned",
        # Tokens of the text's vocabulary, learned from the captions.
        "vocab_size": 512,
        # Tokens of a text.
        "length": 16,
        # Features of a token of the condition.
        "width": 96,
        # Transformer blocks of its encoder.
        "num_layers": 2,
        # Their attention heads.
        "num_heads": 6,
    }
    config.eval.update(
        inception_weights=config_dict.placeholder(str),
        # File of CLIP's weights, for CLIPScore.
        clip_weights=config_dict.placeholder(str),
        # CLIP's file bpe_simple_vocab_16e6.txt.gz.
        clip_merges=config_dict.placeholder(str),
        reference=config_dict.placeholder(str),
        num_real=5000,
        # Draw samples for all captions of each test image, not for one.
        all_captions=False,
    )
    # The published 5e-4 leaves the text unheard for several hundred steps longer.
    config.loss.aux_weight = 0.2
    config.sample.num_samples = 32
    if arg == "smoke":
        _make_small(config)
    return config


def _make_small(config: Any) -> None:
    config.data.scripts = ("digit", "latin capital letter")
    config.codec.num_codes = 256
    config.condition.update(vocab_size=320, width=48, num_layers=1, num_heads=4)
    config.denoiser.update(width=64, num_heads=4)
    config.optimizer.warmup_steps = 20
    config.train.update(
        batch_size=64, num_steps=400, log_every=20, checkpoint_every=200, sample_every=200
    )
    config.eval.update(num_samples=100, num_steps=(10,), batch_size=100)
