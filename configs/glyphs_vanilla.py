"""Letters drawn from their Unicode names and a style, no contrastive term: the baseline.

Command: ``python -m cdcd_jax.main --config=configs/glyphs_vanilla.py``: it finds a codebook of
patches, prepares the tokens, trains, and evaluates on combinations of letter and style that the
training lacks. Nothing is downloaded: the outlines are the DejaVu fonts of matplotlib. Hardware:
two CPU cores. Duration and expected metric: docs/texts.md. For a run of a minute or two add
``:smoke`` to the name of the file.
"""

from typing import Any

from cdcd_jax.configs import captions


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = captions.get_config(arg)
    if arg == "smoke":
        return config
    config.data.scripts = ("digit", "latin capital letter", "greek capital letter")
    config.data.tokens = "runs/glyphs_tokens"
    config.codec.folder = "runs/glyphs_codec"
    config.train.update(num_steps=1500, sample_every=500)
    config.eval.update(num_samples=360, num_steps=(50, 10, 5), truncations=(0.86,))
    return config
