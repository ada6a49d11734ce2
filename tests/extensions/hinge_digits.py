"""The digits in miniature, with the contrastive term in the file beside this one."""

from typing import Any

import hinge  # type: ignore[import-not-found]  # noqa: F401  which registers it
import tiny  # type: ignore[import-not-found]


def get_config() -> Any:
    """Return the settings of a training that takes seconds."""
    config = tiny.get_config()
    config.loss.mechanism = "hinge"
    return config
