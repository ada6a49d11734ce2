"""Photographs of groceries by class, no contrastive term: the baseline.

Command: ``python -m cdcd_jax.main --config=configs/grocery_vanilla.py --config.data.path=FOLDER``,
where FOLDER holds ``grocery64_jpeg.npz`` and ``classes.json`` (the Grocery Store Dataset, Klasson
et al. 2019, 81 classes, 64x64 pixels; see docs/data.md). It trains the codec if there is none in
``runs/grocery_codec``, prepares the tokens, trains the diffusion and evaluates. Hardware: two CPU
cores. Duration and results: docs/pictures.md.
"""

from typing import Any

from cdcd_jax.configs import pictures


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = pictures.get_config(arg)
    if arg == "smoke":
        return config  # digits drawn as pictures stand in for the photographs
    config.data.name = "grocery"
    config.data.tokens = "runs/grocery_tokens"
    config.codec.folder = "runs/grocery_codec"
    config.prepare.update(views=2, flip=True, crop="random")
    config.denoiser.width = 192
    config.optimizer.lr = 1e-3
    config.train.update(num_steps=1000, sample_every=500)
    config.eval.update(num_samples=810, num_steps=(50, 10), batch_size=135)
    config.sample.num_samples = 128
    return config
