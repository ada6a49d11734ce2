"""Windows of dances: numbered pieces of one length, each with its music, motion and video."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cdcd_jax.data.audio import SAMPLE_RATE
from cdcd_jax.data.caption_files import read_text
from cdcd_jax.data.dances import Dance, Dances

MAX_PADDING = 128
"""Samples by which a dance may be too short for its last window, which then ends with silence: one
token of the published music codec. Pieces cut to two seconds often lack a few samples."""

SLACK = MAX_PADDING / SAMPLE_RATE

NUM_CACHED = 4
"""Dances kept in memory, as consecutive windows are mostly of one dance."""


class Segment(NamedTuple):
    """A window of a dance.

    Attributes:
        name: Name of the dance and where the window begins, ``"dance@12.0s"``.
        group: The dance's group, see ``Dances.groups``.
        genre: Number of its genre.
        audio: [samples] float32 sound.
        motion: [frames features] float32.
        video: [steps features] float32, or None.
        tempo: Beats per minute, where it is known.
    """

    name: str
    group: int
    genre: int
    audio: np.ndarray
    motion: np.ndarray
    video: np.ndarray | None
    tempo: float | None


class Segments:
    """Number all windows of a set of dances, those of a dance together.

    Args:
        dances: The set.
        seconds: Length of a window, > 0.
        stride: From the beginning of one window to that of the next, > 0.
        samples: Samples of sound in a window, >= 1; a little less than ``seconds`` where tokens do
            not fill it.
        listed: Text file that chooses windows: lines ``name start_seconds``, or ``name`` alone for
            all windows of a dance. Empty lines and what follows a # are passed over. None for all
            windows of all dances.
        video_steps: Steps of video in a window, >= 1; the nearest are taken.

    Attributes:
        num_skipped: How many (listed) dances are shorter than a window and have none.
        dance_numbers: [windows] number of each window's dance.
        starts: [windows] when each begins, in seconds.
        groups: [windows] int32 group of each window's dance.
        frames: Frames of motion in a window.

    Raises:
        ValueError: If no window fits or the list names what is not there.
    """

    def __init__(
        self,
        dances: Dances,
        *,
        seconds: float,
        stride: float,
        samples: int,
        listed: str | Path | None = None,
        video_steps: int = 8,
    ):
        if not (seconds > 0 and stride > 0 and samples > 0 and video_steps > 0):
            raise ValueError(
                "seconds, stride, samples and video_steps of windows must be positive, "
                f"got {seconds}, {stride}, {samples} and {video_steps}"
            )
        self.dances, self.seconds, self.samples = dances, seconds, samples
        self.frames, self.video_steps = round(seconds * dances.fps), video_steps
        wanted: list[tuple[int, float | None]] = [(number, None) for number in range(len(dances))]
        if listed is not None:
            wanted = _read_list(Path(listed), dances, seconds)
        windows, self.num_skipped = _number_windows(dances.seconds, wanted, seconds, stride)
        if not windows:
            longest = int(np.argmax(dances.seconds)) if len(dances) else None
            what = (
                "there is none"
                if longest is None
                else (
                    f"the longest of {len(dances)}, {dances.names[longest]}, has "
                    f"{dances.seconds[longest]:.2f} s"
                )
            )
            raise ValueError(
                f"no dance of {dances.name} is as long as a window of {seconds} s: {what}"
            )
        self.dance_numbers = np.array([number for number, _ in windows])
        self.starts = np.array([start for _, start in windows], np.float64)
        self.groups = dances.groups[self.dance_numbers].astype(np.int32)
        self._read = lru_cache(maxsize=NUM_CACHED)(dances.__getitem__)

    @property
    def name(self) -> str:
        """What the set of dances is called."""
        return self.dances.name

    @property
    def genre_names(self) -> tuple[str, ...]:
        """Name of each genre; empty in a set without genres."""
        return self.dances.genre_names

    @property
    def num_features(self) -> int:
        """Features of a frame of motion."""
        return self.dances.num_features

    @property
    def fingerprint(self) -> str:
        """A text that changes when the dances, the windows or their order do."""
        text = f"{self.dances.fingerprint} {self.seconds} {self.samples} {self.video_steps}"
        digest = hashlib.sha256(text.encode())
        digest.update(self.dance_numbers.astype("<i8").tobytes())
        digest.update(self.starts.astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.starts)

    def segment_name(self, index: int) -> str:
        """Name a window without reading it."""
        start = round(float(self.starts[index]), 3)
        return f"{self.dances.names[self.dance_numbers[index]]}@{start}s"

    def __getitem__(self, index: int, /) -> Segment:
        """Read a window; threads may do so at the same time.

        Raises:
            ValueError: If the dance cannot be read, is shorter than its file says, or its motion
                holds a value that is no finite number.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no window {index} among {len(self)}")
        dance, start = self._read(int(self.dance_numbers[index])), float(self.starts[index])
        name, group = self.segment_name(index), int(self.groups[index])
        audio = _cut_audio(dance, name, round(start * SAMPLE_RATE), self.samples)
        motion = _cut_motion(dance, name, round(start * self.dances.fps), self.frames)
        video = None
        if dance.video is not None:
            length = len(dance.motion) / self.dances.fps
            video = cut_video(dance.video, start / length, self.seconds / length, self.video_steps)
        return Segment(name, group, dance.genre, audio, motion, video, dance.tempo)


def _number_windows(
    lengths: Float[np.ndarray, " dances"],
    wanted: list[tuple[int, float | None]],
    seconds: float,
    stride: float,
) -> tuple[list[tuple[int, float]], int]:
    """List dance and start of each window, and count the dances that have none."""
    windows, num_skipped = [], 0
    for number, start in wanted:
        if start is not None:
            windows.append((number, start))
            continue
        count = int(np.floor((lengths[number] + SLACK - seconds) / stride)) + 1
        num_skipped += count < 1
        windows += [(number, position * stride) for position in range(max(0, count))]
    return windows, num_skipped


def _read_list(path: Path, dances: Dances, seconds: float) -> list[tuple[int, float | None]]:
    """Read which windows are wanted: number of a dance, and a start or None for all of its."""
    numbers = {name: number for number, name in enumerate(dances.names)}
    wanted: list[tuple[int, float | None]] = []
    for line_number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        where = f"{path}, line {line_number}"
        if fields[0] not in numbers:
            raise ValueError(f"{where}: {dances.name} has no dance {fields[0]}; remove the line")
        number = numbers[fields[0]]
        wanted.append((number, None))
        if len(fields) > 1:
            start = _read_start(fields, where)
            if not 0 <= start <= dances.seconds[number] + SLACK - seconds:
                raise ValueError(
                    f"{where}: a window of {seconds} s from {fields[1]} s does not lie within the "
                    f"{dances.seconds[number]:.2f} s of {fields[0]}"
                )
            wanted[-1] = (number, start)
    if not wanted:
        raise ValueError(f"{path} lists no window; write a line `name start_seconds` for each")
    return wanted


def _read_start(fields: list[str], where: str) -> float:
    try:
        if len(fields) != 2:
            raise ValueError
        return float(fields[1])
    except ValueError:
        raise ValueError(
            f"{where}: this must be a name and one number of seconds, not {' '.join(fields)!r:.60}"
        ) from None


def _cut_audio(dance: Dance, name: str, first: int, samples: int) -> np.ndarray:
    audio = dance.audio[first : first + samples]
    missing = samples - len(audio)
    if missing > MAX_PADDING:
        raise ValueError(f"{name} lacks {missing} of its {samples} samples; its sound file is cut")
    return np.pad(audio, (0, missing))


def _cut_motion(dance: Dance, name: str, first: int, frames: int) -> np.ndarray:
    motion = dance.motion[first : first + frames]
    if frames - len(motion) > 1:
        raise ValueError(
            f"{name} lacks {frames - len(motion)} of its {frames} frames; its motion file is cut"
        )
    if len(motion) < frames:  # rounding of the start: the last frame stands twice
        motion = np.concatenate([motion, dance.motion[-1:]])
    bad = np.flatnonzero(~np.isfinite(motion).all(axis=1))
    if bad.size:
        raise ValueError(
            f"the motion of {dance.name} holds a value that is no finite number in frame "
            f"{first + bad[0]}"
        )
    return motion


def cut_video(video: np.ndarray, start: float, share: float, steps: int) -> np.ndarray:
    """Take the steps of a video that are nearest to those of a window.

    Args:
        video: [steps features], evenly spread over a dance.
        start: Where the window begins, as a share of the dance.
        share: How long it is, as a share of the dance.
        steps: How many are wanted, evenly spread over the window.

    Returns:
        [steps features].
    """
    middles = start + share * (np.arange(steps) + 0.5) / steps
    # The millionth decides ties, which rounding would decide otherwise in every window.
    return video[np.clip((middles * len(video) + 1e-6).astype(int), 0, len(video) - 1)]
