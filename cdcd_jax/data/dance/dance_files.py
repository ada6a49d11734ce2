"""Sets of dances on disk: a sound file, a motion file and maybe video features each."""

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

from cdcd_jax.data.dance.audio import audio_seconds, load_audio
from cdcd_jax.data.dance.dances import Dance
from cdcd_jax.data.dance.motion import find_joints, load_motion, motion_frames, why_not_read
from cdcd_jax.reading.arrays import read_npy

VIDEO_FEATURES = 2048
"""Numbers of an I3D feature, which the published models are conditioned on."""


class DanceFile(NamedTuple):
    """The files of one dance, and its metadata.

    Attributes:
        name: As ``Dance.name``.
        audio: Sound file; dances may share one.
        motion: Motion file.
        video: Array file [steps features], or None.
        group: As ``Dances.groups``.
        genre: As ``Dance.genre``.
        tempo: As ``Dance.tempo``.
    """

    name: str
    audio: Path
    motion: Path
    video: Path | None
    group: int
    genre: int = 0
    tempo: float | None = None


class DanceFiles:
    """Dances with files of their own each.

    Args:
        name: What the set is called.
        files: The dances.
        fps: Frames of motion per second.
        genre_names: Name of each genre.
        edges: See ``Dances.edges``.
        piece_seconds: How long each is meant to be, if these are pieces of one length.

    Raises:
        ValueError: If there are no dances or files are missing.

    Attributes:
        piece_seconds: As given.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[DanceFile],
        *,
        fps: float,
        genre_names: tuple[str, ...] = (),
        edges: tuple[tuple[int, int], ...] = (),
        piece_seconds: float | None = None,
    ):
        if not files:
            raise ValueError(f"{name} has no dances; check its lists")
        _check_there(name, [file.motion for file in files], "motion")
        _check_there(name, [file.audio for file in files], "sound")
        _check_there(name, [file.video for file in files if file.video], "video")
        self.name, self.fps, self.genre_names, self.edges = name, fps, genre_names, edges
        self.joints, self._files = find_joints, tuple(files)
        self.piece_seconds = piece_seconds
        self.names: Sequence[str] = [file.name for file in files]
        self.groups: Int32[np.ndarray, " dances"] = np.array([f.group for f in files], np.int32)
        # Songs are few and shared; eight minutes of them take about 40 MB.
        self._load_audio = lru_cache(maxsize=8)(load_audio)

    @property
    def seconds(self) -> Float64[np.ndarray, " dances"]:
        """How long there are both music and motion; reads pickled motion whole, once."""
        return self._seconds

    @property
    def num_features(self) -> int:
        """Features of a frame of motion."""
        return self._features[0]

    @property
    def video_features(self) -> int | None:
        """Features of a step of video; None where there is no video."""
        return self._features[1]

    @property
    def fingerprint(self) -> str:
        """A text that changes with the dances' names, order, groups or sizes of files."""
        digest = hashlib.sha256(f"{self.fps} {self.genre_names}".encode())
        for file in self._files:
            paths = [path for path in (file.audio, file.motion, file.video) if path]
            sizes = [path.stat().st_size for path in paths]
            digest.update(f"{file.name} {file.group} {file.genre} {sizes}\n".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def _seconds(self) -> Float64[np.ndarray, " dances"]:
        lengths = {song: audio_seconds(song) for song in {file.audio for file in self._files}}
        return np.array(
            [min(lengths[f.audio], motion_frames(f.motion) / self.fps) for f in self._files]
        )

    @cached_property
    def _features(self) -> tuple[int, int | None]:
        """Features of motion and video, as the first dance has them."""
        first = self._files[0]
        video = None if first.video is None else load_video(first.video).shape[1]
        return load_motion(first.motion).shape[1], video

    def __len__(self) -> int:
        """Count the dances."""
        return len(self._files)

    def __getitem__(self, index: int, /) -> Dance:
        """Read a dance.

        Raises:
            ValueError: If a file is damaged, or its features are not those of the others.
        """
        file = self._files[index]
        motion = load_motion(file.motion)
        video = None if file.video is None else load_video(file.video)
        counts = (motion.shape[1], None if video is None else video.shape[1])
        for path, count, usual in zip(
            (file.motion, file.video), counts, self._features, strict=True
        ):
            if count != usual:
                raise ValueError(
                    f"{path} has {count} features, but the first dance of {self.name} has {usual}"
                )
        audio = self._load_audio(file.audio)
        return Dance(file.name, audio, motion, file.genre, file.tempo, video)


def load_video(path: Path) -> Float32[np.ndarray, "steps features"]:
    """Read features of a video, ``.npy`` [steps features] or [features] for a single step.

    Raises:
        ValueError: If the file is damaged or holds something else.
    """
    try:
        array = read_npy(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an array: {why_not_read(error)}") from error
    array = np.atleast_2d(array) if isinstance(array, np.ndarray) else np.array([])
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold numbers [steps features], not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{path} holds a value that is not finite; extract it anew")
    return array.astype(np.float32)


def _check_there(name: str, paths: Sequence[Path], kind: str) -> None:
    missing = [path for path in dict.fromkeys(paths) if not path.is_file()]
    if missing:
        raise ValueError(
            f"{name} lacks {len(missing)} of its {len(set(paths))} {kind} files, {missing[0]} "
            "first; put them there or take their dances off the list"
        )
