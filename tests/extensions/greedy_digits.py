"""The digits in miniature, drawn by the sampler in the file beside this one."""

from typing import Any

import greedy  # type: ignore[import-not-found]  # noqa: F401  which registers it
import tiny  # type: ignore[import-not-found]


def get_config() -> Any:
    """Return the settings of a training that takes seconds."""
    config = tiny.get_config()
    config.sample.update(sampler="greedy", margin=0.1)
    return config
