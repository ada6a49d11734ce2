"""AIST++ in miniature: SMPL motion and key points as pickles, splits, and songs beside them."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float

from cdcd_jax.data.dance.aist import FPS, read_name
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.dance_files import VIDEO_FEATURES
from cdcd_jax.data.toy.groove_dancer import dance_groove
from cdcd_jax.data.toy.groove_music import play_groove

STYLES = {"BR": "breakbeat", "HO": "house"}
"""What plays and dances for a genre of AIST++."""

DANCES = {
    "train": (
        "gBR_sBM_cAll_d04_mBR0_ch01",
        "gBR_sBM_cAll_d05_mBR3_ch02",
        "gHO_sFM_cAll_d19_mHO1_ch04",
        "gHO_sFM_cAll_d20_mHO3_ch05",
    ),
    "val": ("gBR_sBM_cAll_d06_mBR4_ch03",),
    "test": ("gBR_sBM_cAll_d06_mBR5_ch06", "gHO_sFM_cAll_d21_mHO5_ch07"),
}
"""Names in the form of AIST++'s; songs do not overlap between the splits."""

IGNORED = "gHO_sBM_cAll_d21_mHO2_ch08"


def write_aist(
    folder: Path,
    *,
    splits: Mapping[str, Sequence[str]],
    motions: Mapping[str, Mapping[str, Any]],
    key_points: Mapping[str, Float[np.ndarray, "frames 17 3"]],
    songs: Mapping[str, Float[np.ndarray, " samples"]],
    videos: Mapping[str, Float[np.ndarray, "steps features"]] | None = None,
    ignored: Sequence[str] = (),
    music: str = "music",
) -> None:
    """Write the annotations' folder with the songs in it.

    Args:
        folder: Where everything goes.
        splits: Names of the sequences of each cross-modal split.
        motions: What each motion file holds; see ``smpl_content``.
        key_points: Positions of each sequence, in centimetres.
        songs: Sound of each song, 22,050 Hz.
        videos: Features of each sequence's video.
        ignored: Names on the ignore list.
        music: Folder of the songs within ``folder``.
    """
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (folder / "splits" / f"crossmodal_{split}.txt").write_text("\n".join(names) + "\n")
    (folder / "ignore_list.txt").write_text("".join(f"{name}\n" for name in ignored))
    for name, content in motions.items():
        write_pickle(folder / "motions" / f"{name}.pkl", content)
    for name, points in key_points.items():
        # Only the smoothed points are read where both are there.
        content = {"keypoints3d": points + 1, "keypoints3d_optim": points}
        write_pickle(folder / "keypoints3d" / f"{name}.pkl", content)
    (folder / music).mkdir(exist_ok=True)
    for song, audio in songs.items():
        soundfile.write(folder / music / f"{song}.wav", audio, SAMPLE_RATE)
    for name, features in (videos or {}).items():
        (folder / "video").mkdir(exist_ok=True)
        np.save(folder / "video" / f"{name}.npy", features.astype(np.float32))


def write_pickle(path: Path, content: Any, *, protocol: int = 4) -> None:
    """Write a pickle; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def smpl_content(
    poses: Float[np.ndarray, "frames 72"], translation: Float[np.ndarray, "frames 3"]
) -> dict[str, Any]:
    """Return what a motion file of AIST++ holds.

    Args:
        poses: 24 axis-angle vectors of each frame, in radians.
        translation: Of the body, in units of which 93.75 are its scale.
    """
    return {
        "smpl_loss": 0.1,
        "smpl_poses": poses,
        "smpl_scaling": np.array([93.75]),
        "smpl_trans": translation,
    }


def make_aist(folder: Path, *, seconds: float = 5.0) -> None:
    """Make dances of two genres: four to train on, one to validate, two to test.

    Args:
        folder: Where everything goes.
        seconds: Of each dance.
    """
    motions, key_points, songs, videos = {}, {}, {}, {}
    for number, name in enumerate(name for names in DANCES.values() for name in names):
        random = np.random.default_rng(number)
        _, song, tempo = read_name(name)
        common: dict[str, Any] = {"tempo": tempo, "downbeat": 0.0, "seconds": seconds}
        style = STYLES[song[1:3]]
        songs[song] = play_groove(random, style, **common)
        joints = 100 * dance_groove(random, style, **common).reshape(-1, 17, 3)
        key_points[name] = joints
        # Every joint swings to and fro once in two beats, so it is slowest on each beat.
        beats = np.arange(len(joints)) / FPS * tempo / 60
        swing = random.normal(0, 0.3, (1, 72)) * np.cos(np.pi * beats)[:, None]
        motions[name] = smpl_content(swing, joints[:, 0].astype(np.float64))
        videos[name] = random.normal(0, 1, (max(1, int(seconds)), VIDEO_FEATURES))
    splits = {**DANCES, "train": (*DANCES["train"], IGNORED)}
    write_aist(
        folder,
        splits=splits,
        motions=motions,
        key_points=key_points,
        songs=songs,
        videos=videos,
        ignored=(IGNORED,),
    )
