"""Anybody's tokens: plain .npy files, with classes or without.

Command: ``python -m cdcd_jax.main --config=configs/arrays.py --config.data.path=FOLDER
--config.codec.vocab_size=512 --config.codec.grid="(16, 16)"``, where FOLDER holds ``train.npy`` and
``test.npy`` (docs/guides/data.md). Without labels add ``--config.condition.kind=none``. Duration
and scores are those of the tokens.

Variants: ``vanilla`` (the baseline), ``step_intra``, ``step_inter``, ``sample_intra`` or
``sample_inter``; and ``smoke`` for a run of seconds.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import common, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg)
    config = common.get_config(size)
    variants.set_contrast(config, contrast)
    config.data.name = "arrays"
    config.data.path = config_dict.placeholder(str)
    config.codec.name = "tokens"
    return config
