"""Photographs of groceries by class.

Command: ``python -m cdcd_jax.main --config=configs/grocery.py:sample_inter
--config.data.path=FOLDER``, where FOLDER holds ``grocery64_jpeg.npz`` and ``classes.json`` (the
Grocery Store Dataset, Klasson et al. 2019, 81 classes, 64x64 pixels; see docs/guides/data.md). It
trains the codec if there is none in ``runs/grocery_codec``, prepares the tokens, trains the
diffusion and evaluates: about an hour on two CPU cores. Expected: 7.85 bits per token, 14.7% of
the samples recognised among 81 classes, against 11.8% of real test images after the codec
(docs/results/photographs.md).

Variants: ``vanilla`` (the baseline) or ``sample_inter``; and ``smoke`` for a run of a minute or
two that needs no such folder.
"""

from typing import Any

from cdcd_jax.configs import images, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg, ("vanilla", "sample_inter"))
    config = images.get_config(size)
    variants.set_contrast(config, contrast)
    if size == "smoke":
        return config  # of digits drawn as images, in place of the photographs
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
