"""Stripes, with the data set, the condition and the metric in the file beside this one."""

from typing import Any

import brightness  # type: ignore[import-not-found]  # noqa: F401  which registers them
import tiny  # type: ignore[import-not-found]


def get_config() -> Any:
    """Return the settings of a training that takes seconds."""
    config = tiny.get_config()
    config.data.name = "stripes"
    config.data.num_stripes = 64
    config.codec.update(vocab_size=2, grid=(4, 4))
    config.condition.kind = "direction"
    config.eval.num_real = 32
    config.eval.metrics = ("brightness",)
    return config
