"""Windows of dances: pieces of one length with music, motion and video."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.dances import Dance, Dances
from cdcd_jax.data.dance.windows import MAX_PADDING, SLACK, number_windows, read_windows

LEAST_PIECE = 1.9
"""Seconds that a published piece lasts at least, or nine tenths of it if it is shorter: of a dance
of 8 s the second piece of 6 s can only have 2 s, and a hundredth of a second may be lost."""

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
    """All windows of a set of dances, those of a dance together.

    Args:
        dances: The set.
        seconds: Length of a window, > 0.
        stride: From the beginning of one window to that of the next, > 0.
        samples: Samples of sound in a window, >= 1; a little less than ``seconds`` where tokens do
            not fill it.
        listed: Text file that chooses windows: lines ``name start_seconds``, or ``name`` alone for
            all windows of a dance. Empty lines and what follows a # are skipped. None for all
            windows of all dances.
        video_steps: Steps of video in a window, >= 1; the nearest are taken.
        rest: One more window ends with the dance where at least so many seconds, > 0, come after
            the last one; None for no such window.
        filled: Whether the dances are pieces as long as a window, of which each is one: where one
            is shorter, silence and its last frame of motion fill it.

    Attributes:
        num_skipped: How many (listed) dances are shorter than a window and have none.
        num_filled: How many windows are filled for more than ``SLACK`` seconds.
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
        rest: float | None = None,
        filled: bool = False,
    ):
        if rest is not None and rest <= 0:
            raise ValueError(f"rest = {rest} seconds must be positive")
        if not (seconds > 0 and stride > 0 and samples > 0 and video_steps > 0):
            raise ValueError(
                "seconds, stride, samples and video_steps of windows must be positive, "
                f"got {seconds}, {stride}, {samples} and {video_steps}"
            )
        self.dances, self.seconds, self.samples = dances, seconds, samples
        self.frames, self.video_steps = round(seconds * dances.fps), video_steps
        wanted: list[tuple[int, float | None]] = [(number, None) for number in range(len(dances))]
        if listed is not None:
            wanted = read_windows(Path(listed), dances, seconds)
        self._filled, self.num_skipped, self.num_filled = filled, 0, 0
        if filled:
            windows = [(number, start or 0.0) for number, start in wanted]
            lengths = dances.seconds[[number for number, _ in windows]]
            self.num_filled = int(np.sum(lengths < seconds - SLACK))
        else:
            windows, self.num_skipped = number_windows(
                dances.seconds, wanted, seconds, stride, rest
            )
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
    def class_names(self) -> tuple[str, ...]:
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

    @property
    def remarks(self) -> list[str]:
        """What else there is to say of the windows, in sentences."""
        said = []
        if self.num_skipped:
            said.append(
                f"{self.name}: {self.num_skipped} dances are shorter than {self.seconds:g} s and "
                "are left out"
            )
        if self._filled and self.dances.video_features is None:
            said.append(
                f"{self.name}: there are no features of videos (video_s{self.seconds:g}), which "
                "the published models are conditioned on"
            )
        if self.num_filled:
            said.append(
                f"{self.name}: {self.num_filled} of {len(self)} pieces are shorter than "
                f"{self.seconds:g} s; silence fills them, as in the published code"
            )
        return said

    def segment_name(self, index: int) -> str:
        """Name a window without reading it."""
        start = round(float(self.starts[index]), 3)
        return f"{self.dances.names[self.dance_numbers[index]]}@{start}s"

    def __getitem__(self, index: int, /) -> Segment:
        """Read a window; threads may do so at the same time.

        Raises:
            ValueError: If the dance cannot be read, is shorter than its file says, or its motion
                holds a value that is not finite.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no window {index} among {len(self)}")
        dance, start = self._read(int(self.dance_numbers[index])), float(self.starts[index])
        name, group = self.segment_name(index), int(self.groups[index])
        # What a window may lack: rounding, or, of a piece that is filled, all but the least.
        lacking = self.seconds - min(LEAST_PIECE, 0.9 * self.seconds) if self._filled else 0.0
        fps, sample, frame = (
            self.dances.fps,
            round(start * SAMPLE_RATE),
            round(start * self.dances.fps),
        )
        most = MAX_PADDING + round(lacking * SAMPLE_RATE)
        audio = _cut_audio(dance, name, slice(sample, sample + self.samples), most)
        most = 1 + round(lacking * fps)
        motion = _cut_motion(dance, name, slice(frame, frame + self.frames), most)
        video = None
        if dance.video is not None:
            length = len(dance.motion) / fps
            video = cut_video(dance.video, start / length, self.seconds / length, self.video_steps)
        return Segment(name, group, dance.genre, audio, motion, video, dance.tempo)


def _cut_audio(dance: Dance, name: str, part: slice, most: int) -> np.ndarray:
    """Cut out a window's sound; at most so many samples may be missing and become silence."""
    audio = dance.audio[part]
    samples = part.stop - part.start
    missing = samples - len(audio)
    if missing > most:
        raise ValueError(f"{name} lacks {missing} of its {samples} samples; its sound file is cut")
    return np.pad(audio, (0, missing))


def _cut_motion(dance: Dance, name: str, part: slice, most: int) -> np.ndarray:
    """Cut out a window's motion; for at most so many missing frames the last one is held."""
    motion = dance.motion[part]
    frames = part.stop - part.start
    missing = frames - len(motion)
    if missing > most:
        raise ValueError(f"{name} lacks {missing} of its {frames} frames; its motion file is cut")
    motion = np.concatenate([motion, np.repeat(dance.motion[-1:], missing, axis=0)])
    bad = np.flatnonzero(~np.isfinite(motion).all(axis=1))
    if bad.size:
        raise ValueError(
            f"the motion of {dance.name} holds a value that is not finite in frame "
            f"{part.start + bad[0]}"
        )
    return motion


def cut_video(video: np.ndarray, start: float, share: float, steps: int) -> np.ndarray:
    """Select the steps of a video that are nearest to those of a window.

    Args:
        video: [steps features], evenly spaced over a dance.
        start: Where the window begins, as a share of the dance.
        share: How long it is, as a share of the dance.
        steps: How many are wanted, evenly spaced over the window.

    Returns:
        [steps features].
    """
    middles = start + share * (np.arange(steps) + 0.5) / steps
    # The millionth decides ties, which rounding would decide otherwise in every window.
    return video[np.clip((middles * len(video) + 1e-6).astype(int), 0, len(video) - 1)]
