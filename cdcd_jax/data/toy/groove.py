"""Synthetic dances with synthetic music, which need no download.

Nothing here is a recording: drum machines of five genres (``groove_music.py``) and
a stick figure (``groove_dancer.py``) are driven by one clock. The figure hits a pose on every beat
of the music; tempo and phase are random, so that the times of a window's beats follow from the
dance alone. Its genre can be recognised in the motion and in the music.

Everything follows from seed, split and index; a dance is made when it is read.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int32

from cdcd_jax.data.dance.dances import Dance
from cdcd_jax.data.toy import groove_dancer, groove_music

SPLITS = {"train": 160, "test": 40}
"""Splits and how many dances each has."""

GENRES = tuple(groove_dancer.STYLES)

TEMPI = (80.0, 135.0)
"""Beats per minute, lowest and highest."""

VERSION = 1
"""Changes when the same numbers would give other dances."""


class Clock(NamedTuple):
    """The beats of a dance.

    Attributes:
        tempo: Beats per minute.
        downbeat: When its first bar begins, in seconds; <= 0, as it begins in the midst of it.
    """

    tempo: float
    downbeat: float


class GrooveDances:
    """Synthetic dances, made when they are read; made by ``load_groove``."""

    def __init__(self, split: str, num_dances: int, seconds: float, seed: int):
        self.name = f"groove (synthetic), {split}"
        self.genre_names, self.fps = GENRES, groove_dancer.FPS
        self.num_features, self.video_features = 3 * len(groove_dancer.JOINTS), None
        self.edges = groove_dancer.EDGES
        self.groups: Int32[np.ndarray, " dances"] = np.arange(num_dances, dtype=np.int32) % len(
            GENRES
        )
        self.names: Sequence[str] = [
            f"{split}_{index:04d}_{GENRES[group]}" for index, group in enumerate(self.groups)
        ]
        self.seconds: Float64[np.ndarray, " dances"] = np.full(num_dances, float(seconds))
        text = f"groove {VERSION} {split} {num_dances} {seconds} {seed}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._key = (seed, list(SPLITS).index(split))

    def __len__(self) -> int:
        """Count the dances."""
        return len(self.names)

    def __getitem__(self, index: int, /) -> Dance:
        """Make a dance; takes some hundredths of a second."""
        genre, clock = self.genre_names[self.groups[index]], self.clock(index)
        common = {**clock._asdict(), "seconds": self.seconds[index]}
        audio = groove_music.play_groove(self._rng(index, 1), genre, **common)
        motion = groove_dancer.dance_groove(self._rng(index, 2), genre, **common)
        return Dance(self.names[index], audio, motion, int(self.groups[index]), clock.tempo)

    def clock(self, index: int) -> Clock:
        """Return when a dance's beats are."""
        rng = self._rng(index, 0)
        tempo = rng.uniform(*TEMPI)
        return Clock(tempo, -rng.uniform(0, 4 * 60 / tempo))

    def beat_times(self, index: int) -> Float[np.ndarray, " beats"]:
        """List a dance's beats, in seconds from its start."""
        tempo, downbeat = self.clock(index)
        period, seconds = 60 / tempo, self.seconds[index]
        times = downbeat + period * np.arange(int((seconds - downbeat) / period) + 1)
        return times[(times >= 0) & (times < seconds)]

    def joints(self, motion: Float[np.ndarray, "frames features"], /) -> np.ndarray | None:
        """Return the positions of the 17 joints, y upwards: [frames 17 3]."""
        return motion.reshape(len(motion), -1, 3)

    def _rng(self, index: int, part: int) -> np.random.Generator:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no dance {index} among {len(self)}")
        return np.random.default_rng([*self._key, index, part])


def load_groove(
    split: str, *, num_dances: int | None = None, seconds: float = 20.0, seed: int = 0
) -> GrooveDances:
    """Prepare one split of the synthetic dances.

    Args:
        split: ``"train"`` or ``"test"``: other tempi, songs and dancers of the same genres.
        num_dances: How many, >= 1; None for 160 and 40. Fewer are the first of more.
        seconds: Length of each, >= 1.
        seed: >= 0.

    Returns:
        Dances of five genres in turn, with 17 joints of three coordinates at 60 frames per second.

    Raises:
        ValueError: If there is no such split, or a number is too small.

    >>> dances = load_groove("test", num_dances=10, seconds=2.0)
    >>> dances.name, dances.names[1], dances[1].audio.shape, dances[1].motion.shape
    ('groove (synthetic), test', 'test_0001_rock', (44100,), (120, 51))
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of groove, only {", ".join(SPLITS)}')
    num_dances = SPLITS[split] if num_dances is None else num_dances
    if num_dances < 1 or seconds < 1 or seed < 0:
        raise ValueError(
            "groove needs num_dances >= 1, seconds >= 1 and seed >= 0, "
            f"got {num_dances}, {seconds} and {seed}"
        )
    return GrooveDances(split, num_dances, seconds, seed)
