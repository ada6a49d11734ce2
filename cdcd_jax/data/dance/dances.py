"""The interface of a set of dances with their music: numbered, each read whole.

Sets: ``aist.py`` (AIST++), ``tiktok.py`` (TikTok Dance-Music) and ``groove.py`` (synthetic).
Training takes windows of them, ``segments.py``.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


class Dance(NamedTuple):
    """One dance with its music, from beginning to end.

    Attributes:
        name: What it is called in its set; unique there and without white space.
        audio: [samples] float32 mono sound at 22,050 Hz, about -1..1.
        motion: [frames features] float32, at the set's frames per second.
        genre: Number of its genre; 0 in a set without genres.
        tempo: Beats per minute, where it is known.
        video: [steps features] float32 features of the video, evenly spaced over the dance.
    """

    name: str
    audio: np.ndarray
    motion: np.ndarray
    genre: int = 0
    tempo: float | None = None
    video: np.ndarray | None = None


@runtime_checkable
class Dances(Protocol):
    """A numbered set of dances with music."""

    @property
    def name(self) -> str:
        """What the set and its split are called."""
        ...

    @property
    def genre_names(self) -> tuple[str, ...]:
        """Name of each genre, in the order of their numbers; empty in a set without genres."""
        ...

    @property
    def fps(self) -> float:
        """Frames of motion per second."""
        ...

    @property
    def num_features(self) -> int:
        """Features of a frame of motion."""
        ...

    @property
    def video_features(self) -> int | None:
        """Features of a step of video; None where there is no video."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that changes when the set's dances or their order do."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Name of each dance."""
        ...

    @property
    def groups(self) -> np.ndarray:
        """[dances] int32: the genre, or where there are none a number of the song.

        Inter negatives of a dance come from other groups.
        """
        ...

    @property
    def seconds(self) -> np.ndarray:
        """[dances] float64: how long there are both music and motion."""
        ...

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of joints to draw as a stick figure; empty where features are not positions."""
        ...

    def __len__(self) -> int:
        """Count the dances."""
        ...

    def __getitem__(self, index: int, /) -> Dance:
        """Read a dance; threads may do so at the same time."""
        ...

    def joints(self, motion: np.ndarray, /) -> np.ndarray | None:
        """Return the positions in motion features.

        Args:
            motion: [frames features].

        Returns:
            [frames joints 3], y upwards where the set says so; None where features are no
            positions.
        """
        ...
