"""Music and its dances, from the sections ``data`` and ``codec``."""

from typing import Any

import numpy as np

from cdcd_jax.data.dance.dance_files import DanceFiles
from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.recordings import DanceMusic, Recordings, SoundFolder
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.music_codecs import find_window
from cdcd_jax.tasks.sources import load_split


def load_dances(config: Any, split: str) -> Dances:
    """Open the dances of a split.

    Args:
        config: The whole configuration.
        split: ``"train"`` or ``"test"``.

    Returns:
        The dances, read one by one.

    Raises:
        ValueError: If they are not there; the sentence names ``data`` and the way out.
    """
    return load_split(config, split)


def load_recordings(config: Any, split: str) -> Recordings:
    """Open the sound that a codec is trained on.

    Raises:
        ValueError: If it is not there.
    """
    found = load_split(config, split)
    return found if isinstance(found, SoundFolder) else DanceMusic(found)


def load_segments(config: Any, split: str) -> Segments:
    """Cut the dances of a split into pieces of one length.

    Raises:
        ValueError: If they are not there, none is long enough, or a list names what is not there.
    """
    dances, window, data = load_dances(config, split), find_window(config), config.data
    test = split == "test"
    return make_section(
        config,
        "data",
        Segments,
        dances,
        seconds=data.seconds,
        stride=data.test_stride if test else data.stride,
        samples=window.samples,
        listed=data.test_segments if test else data.train_segments,
        video_steps=data.video_steps,
        rest=data.test_rest if test else None,
        filled=isinstance(dances, DanceFiles) and dances.piece_seconds is not None,
    )


def motion_statistics(motion: Any) -> tuple[np.ndarray, np.ndarray]:
    """Measure mean and deviation of each feature over at most a thousand pieces.

    Args:
        motion: [pieces frames features], an array or what is read by index.

    Returns:
        [features] each, float32.
    """
    chosen = np.linspace(0, len(motion) - 1, min(1000, len(motion))).round().astype(int)
    frames = np.asarray(motion[chosen], np.float64).reshape(-1, motion.shape[-1])
    return frames.mean(0).astype(np.float32), frames.std(0).astype(np.float32)
