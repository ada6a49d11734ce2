"""Emoji in four art styles from their names and keywords, no contrastive term: the baseline.

Command: ``python -m cdcd_jax.main --config=configs/emoji_vanilla.py --config.data.path=FOLDER``,
where FOLDER holds ``<style>.npz`` and ``<style>.jsonl`` (64x64 pixels, of which 32x32 are learned;
docs/data.md has the form). It finds a codebook of patches, prepares the tokens, trains and
evaluates. Hardware: two CPU cores. Duration and results: docs/texts.md. For a run of a minute or
two that needs no such folder add ``:smoke`` to the name of the file.
"""

from typing import Any

from cdcd_jax.configs import captions


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = captions.get_config(arg)
    if arg == "smoke":
        return config  # glyphs stand in for the emoji
    del config.data.scripts, config.data.num_variants
    config.data.name = "emoji"
    config.data.tokens = "runs/emoji_tokens"
    config.codec.folder = "runs/emoji_codec"
    config.codec.num_codes = 1024
    config.condition.update(vocab_size=2048, length=24, width=128, num_heads=8)
    config.denoiser.update(width=128, num_heads=8)
    config.train.update(num_steps=1000, sample_every=500)
    config.eval.update(num_samples=500, num_steps=(50, 10), truncations=(0.86,))
    return config
