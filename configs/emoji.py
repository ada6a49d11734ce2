"""Emoji in four art styles from their names and keywords.

Command: ``python -m cdcd_jax.main --config=configs/emoji.py:sample_inter
--config.data.path=FOLDER``, where FOLDER holds ``<style>.npz`` and ``<style>.jsonl``
(64x64 pixels, of which 32x32 are learned; docs/guides/data.md has the form). It finds a codebook of
patches, prepares the tokens, trains (ten minutes on two shared CPU cores) and evaluates. Expected:
3.64 bits per token (docs/results/texts.md).

Variants: ``vanilla`` (the baseline) or ``sample_inter``; and ``smoke`` for a run of a minute or two
that needs no such folder.
"""

from typing import Any

from cdcd_jax.configs import captions, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg, ("vanilla", "sample_inter"))
    config = captions.get_config(size)
    variants.set_contrast(config, contrast)
    if size == "smoke":
        return config  # of glyphs, in place of the emoji
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
