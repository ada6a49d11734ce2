"""TikTok Dance-Music in miniature: the published pieces of two seconds, or whole dances."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.dance_files import VIDEO_FEATURES
from cdcd_jax.data.dance.tiktok import FPS, find_song
from cdcd_jax.data.toy.groove_dancer import FPS as GROOVE_FPS
from cdcd_jax.data.toy.groove_dancer import STYLES, dance_groove
from cdcd_jax.data.toy.groove_music import play_groove

PIECES = {
    "train": [
        f"{index:06d}_{song}_{100 + index}_seg{piece}"
        for index, song in enumerate((0, 0, 1, 1, 2))
        for piece in (1, 2)
    ],
    "test": [f"{index:06d}_{song}_{100 + index}_seg1" for index, song in ((5, 3), (6, 4))],
}
"""Names in the form of the published ones: dance, song, video, piece."""

OPENPOSE = (10, 9, 14, 15, 16, 11, 12, 13, 0, 4, 5, 6, 1, 2, 3, 10, 10, 10, 10, 3, 3, 3, 6, 6, 6)
"""The joint of the groove's figure for each of OpenPose's 25 key points."""


def write_tiktok(
    folder: Path,
    splits: Mapping[str, Sequence[str]],
    *,
    audio: Mapping[str, Float[np.ndarray, " samples"]],
    key_points: Mapping[str, Float[np.ndarray, "frames 25 3"]],
    videos: Mapping[str, Float[np.ndarray, "steps features"]],
    suffix: str = "_s2",
) -> None:
    """Write the layout of pieces, or with no suffix that of whole dances.

    Args:
        folder: Where everything goes.
        splits: Names of each split, ``"train"`` and ``"test"``.
        audio: Sound by name, 22,050 Hz.
        key_points: x, y and confidence by name, in pixels, y downwards.
        videos: Features of the video by name.
        suffix: Of the three folders.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        listing = f"tiktok_audio_{split}_segment.txt" if suffix else f"{split}.txt"
        lines = [f"./tiktok/audio{suffix}/{name}.wav" for name in names] if suffix else names
        (folder / listing).write_text("".join(f"{line}\n" for line in lines))
    for kind in ("audio", "motion", "video"):
        (folder / f"{kind}{suffix}").mkdir(exist_ok=True)
    for name, sound in audio.items():
        soundfile.write(folder / f"audio{suffix}" / f"{name}.wav", sound, SAMPLE_RATE)
    for kind, arrays in {"motion": key_points, "video": videos}.items():
        for name, array in arrays.items():
            np.save(folder / f"{kind}{suffix}" / f"{name}.npy", array.astype(np.float32))


def make_tiktok(folder: Path, *, seconds: float = 2.0) -> None:
    """Make ten pieces of three songs to train on, and two of two others to test.

    Args:
        folder: Where everything goes.
        seconds: Of each piece.
    """
    audio, key_points, videos = {}, {}, {}
    for number, name in enumerate(name for names in PIECES.values() for name in names):
        song, styles = int(find_song(name)), tuple(STYLES)
        style = styles[song % len(styles)]
        common: dict[str, Any] = {"tempo": 90.0 + 10 * song, "downbeat": 0.0, "seconds": seconds}
        # Pieces of one song sound alike; every dance is one of its own.
        audio[name] = play_groove(np.random.default_rng(song), style, **common)
        random = np.random.default_rng([number, song])
        joints = dance_groove(random, style, **common).reshape(-1, 17, 3)
        joints = joints[:: round(GROOVE_FPS / FPS), OPENPOSE]
        x, y = 320 + 200 * joints[..., 0], 600 - 250 * joints[..., 1]
        key_points[name] = np.stack([x, y, np.ones_like(x)], axis=-1)
        videos[name] = random.normal(0, 1, (2, VIDEO_FEATURES))
    write_tiktok(folder, PIECES, audio=audio, key_points=key_points, videos=videos)
