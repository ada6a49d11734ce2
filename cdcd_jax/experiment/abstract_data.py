"""Stand-ins for data and weights that are not at hand: their shapes, which a plan is made from."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from cdcd_jax.conditioning.clip_text import ClipTextOptions
from cdcd_jax.conditioning.condition import feature_condition
from cdcd_jax.conditioning.conditioning import Texts
from cdcd_jax.data.dance import aist, tiktok
from cdcd_jax.data.dance.dance_files import VIDEO_FEATURES
from cdcd_jax.data.images.captioned import Captions
from cdcd_jax.tasks.conditions import Told, load_condition
from cdcd_jax.tasks.music import SOUND
from cdcd_jax.tasks.token_data import TokenData, dry_run_data, random_tokens, two_of_each

NUM_CLASSES = {"imagenet": 1000, "grocery": 81}
"""Classes of the sets of pictures that have a fixed number."""

CAPTIONED = ("coco", "cub", "emoji")
"""Sets of pictures with captions that must be on a disk to be trained on."""

MOTION_FEATURES = {"smpl": 219, "keypoints": 51}
"""Numbers of a frame of AIST++'s motion."""

TIKTOK_FEATURES = 75
"""Numbers of a frame of TikTok's: 25 key points with their confidence."""


def load_stand_ins(config: Any) -> tuple[TokenData, Told]:
    """Describe the data and conditions of a configuration without reading any that is not ours.

    What is synthetic or comes with the package is taken as it is; so are sets that only their
    files describe (``folder``, ``tfds``, ``captions``), which must be there.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/common.py`` makes it.

    Returns:
        A few random tokens with conditions of the right shapes, and what the denoiser is told.

    Raises:
        ValueError: If a value is wrong.
    """
    name = config.data.name
    if name == SOUND:
        raise ValueError(
            'data.name = "sound" is for a codec alone; a plan is made of a diffusion, as in '
            "--config=configs/groove.py"
        )
    if name in ("aist", "tiktok"):
        data = _dances(config)
    elif name in NUM_CLASSES:
        data = _pictures(config, num_classes=NUM_CLASSES[name])
    elif name in CAPTIONED:
        data = _pictures(config, num_classes=0)
    else:
        data = dry_run_data(config)
    return data, load_condition(config, data, None, texts=_texts(config))


def _pictures(config: Any, *, num_classes: int) -> TokenData:
    labels = two_of_each(num_classes)
    captions = Captions([("a picture",)] * len(labels), np.arange(len(labels)))
    names = tuple(str(number) for number in range(num_classes))
    return random_tokens(config, labels, labels, names, None if num_classes else captions)


def _dances(config: Any) -> TokenData:
    data = config.data
    is_aist = data.name == "aist"
    fps = aist.FPS if is_aist else tiktok.FPS
    names = tuple(aist.GENRES.values()) if is_aist else ()
    if is_aist and data.motion not in MOTION_FEATURES:
        raise ValueError(f"data.motion = {data.motion} must be one of {', '.join(MOTION_FEATURES)}")
    features = MOTION_FEATURES[data.motion] if is_aist else TIKTOK_FEATURES
    genres = two_of_each(len(names))
    shape = (len(genres), round(data.seconds * fps), features)
    cond: dict[str, np.ndarray] = {"motion": np.zeros(shape, np.float32)}
    if data.video is not None or config.condition.video is None:
        shape = (len(genres), data.video_steps, VIDEO_FEATURES)
        cond["video"] = np.zeros(shape, np.float32)
    if names:
        cond["genre"] = genres
    return random_tokens(config, cond, genres, names, fps=fps)


def _texts(config: Any) -> Texts | None:
    """Describe what CLIP ViT-B/32 makes of texts, where its files are not given."""
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
