"""Abstract arrays for data that a plan has no files of: CLIP's text features."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from cdcd_jax.conditioning.clip_text import ClipTextOptions
from cdcd_jax.conditioning.condition import feature_condition
from cdcd_jax.conditioning.texts import Texts


def abstract_texts(config: Any) -> Texts | None:
    """Describe what CLIP ViT-B/32 makes of texts, where its files are not given.

    Args:
        config: The whole configuration.

    Returns:
        What reads texts; None where the configuration says it.
    """
    condition = config.condition
    if condition.kind != "clip" or condition.weights is not None:
        return None
    clip = ClipTextOptions()
    return Texts(
        tokenize=lambda texts: np.zeros((len(texts), clip.length), np.int32),
        count=lambda texts: np.zeros(len(texts), np.int64),
        length=clip.length,
        embed=lambda tokens: jnp.zeros((*tokens.shape, clip.width), jnp.float32),
        condition=feature_condition(
            np.zeros((clip.length, clip.width), np.float32), null=condition.null
        ),
        cond_dim=clip.width,
        fingerprint="",
    )
