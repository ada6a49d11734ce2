"""Sizes and rates of dances."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class DanceFormat(NamedTuple):
    """Sizes and rates of the dances that a model makes music for.

    Attributes:
        parts: What the model is conditioned on, of ``"motion"``, ``"video"`` and ``"genre"``.
        seconds: Length of a window.
        samples: Samples of sound in a window.
        fps: Frames of motion per second.
        frames: Frames of motion in a window.
        num_features: Of a frame.
        video_features: Of a step of the video; 0 where there is no video.
        video_steps: Steps of the video in a window, the nearest ones; None for one step, the mean
            over the window.
        genre_names: By their numbers; empty where there are no genres.
        edges: Pairs of joints to draw; empty where features are not positions.
        mean: [features] mean of the motion over the training set; None where it is not used.
        std: [features] standard deviation of it.
    """

    parts: tuple[str, ...]
    seconds: float
    samples: int
    fps: float
    frames: int
    num_features: int
    video_features: int = 0
    video_steps: int | None = 1
    genre_names: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields with lists for arrays."""
        arrays = {"mean": self.mean, "std": self.std}
        lists = {
            name: None if array is None else [float(value) for value in array]
            for name, array in arrays.items()
        }
        return self._asdict() | lists

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "DanceFormat":
        """Read what ``to_json`` returned."""
        arrays = {
            name: None if fields[name] is None else np.array(fields[name], np.float32)
            for name in ("mean", "std")
        }
        return cls(**{**fields, **arrays})
