"""Letters drawn from their Unicode names and a style.

Command: ``python -m cdcd_jax.main --config=configs/glyphs.py:sample_inter``: it finds a codebook of
patches, prepares the tokens, trains, and evaluates on combinations of letter and style that the
training lacks; 11 minutes of training on two shared CPU cores. Nothing is downloaded: the outlines
are the DejaVu fonts of matplotlib. Expected: 0.72 bits per token, 72.5% of the letters and 67.2% of
the styles recognised; other seeds gave 61.1% and 74.2% of the letters (docs/results/texts.md).

Variants: ``vanilla`` (the baseline) or ``sample_inter``; and ``smoke`` for a run of a minute.
"""

from typing import Any

from cdcd_jax.configs import captions, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg, ("vanilla", "sample_inter"))
    config = captions.get_config(size)
    variants.set_contrast(config, contrast)
    if size == "smoke":
        return config
    config.data.scripts = ("digit", "latin capital letter", "greek capital letter")
    config.data.tokens = "runs/glyphs_tokens"
    config.codec.folder = "runs/glyphs_codec"
    config.train.update(num_steps=1500, sample_every=500)
    config.eval.update(num_samples=360, num_steps=(50, 10, 5), truncations=(0.86,))
    return config
