"""Recordings to train a codec on: the music of dances, or a folder of sound files."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from cdcd_jax.data.dance.audio import audio_seconds, load_audio
from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.sound_files import FILM_SUFFIXES, SUFFIXES, film_error
from cdcd_jax.data.dance.waveforms import is_silent, normalise_peak
from cdcd_jax.data.images.sources import is_clutter

TEST_EVERY = 10
"""Where a folder has no sub-folders ``train`` and ``test``, every tenth file is for testing."""

KEPT = 512
"""Recordings kept in memory; a minute takes 5 MB."""


@runtime_checkable
class Recordings(Protocol):
    """A numbered set of sounds."""

    @property
    def name(self) -> str:
        """What the set and its split are called."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Name of each recording."""
        ...

    @property
    def seconds(self) -> Float[np.ndarray, " recordings"]:
        """How long each is."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that changes when the recordings or their order do."""
        ...

    def audio(self, index: int, /) -> Float32[np.ndarray, " samples"]:
        """Read one, with a peak of 0.95; threads may do so at the same time."""
        ...


class DanceMusic:
    """The music of a set of dances; a song that several are danced to counts for each."""

    def __init__(self, dances: Dances):
        self.name, self.names = dances.name, dances.names
        self.seconds, self.fingerprint = dances.seconds, dances.fingerprint
        self.audio = lru_cache(KEPT)(lambda index: _as_loud_as_can_be(dances[index].audio))


class SoundFolder:
    """The sound files of a folder and its sub-folders, in the order of their names.

    Args:
        folder: The folder. With sub-folders ``train`` and ``test`` these are the splits; otherwise
            every tenth file is for testing.
        split: ``"train"`` or ``"test"``.

    Raises:
        ValueError: If there is no such folder or split, or no sound in it.
    """

    def __init__(self, folder: str | Path, split: str):
        folder = Path(folder)
        if split not in ("train", "test"):
            raise ValueError(f'{folder} has the splits "train" and "test", not "{split}"')
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}; give the folder that holds the sound")
        parted = all((folder / name).is_dir() for name in ("train", "test"))
        root = folder / split if parted else folder
        everything = sorted(path for path in root.rglob("*") if path.suffix)
        everything = [
            path for path in everything if not any(map(is_clutter, path.relative_to(root).parts))
        ]
        files = [path for path in everything if path.suffix.lower() in SUFFIXES]
        if not parted:
            every = min(TEST_EVERY, len(files))
            tested = [number % every == every - 1 for number in range(len(files))]
            files = [
                file
                for file, is_test in zip(files, tested, strict=True)
                if is_test == (split == "test")
            ]
        if not files:
            films = [path for path in everything if path.suffix.lower() in FILM_SUFFIXES]
            if films:
                raise film_error(films[0])
            raise ValueError(
                f"{root} holds too little sound ({', '.join(SUFFIXES)}); two files are the least"
            )
        self.name = f"folder {folder.resolve().name}, {split}"
        self.names = [path.relative_to(root).as_posix() for path in files]
        self.seconds = np.array([audio_seconds(path) for path in files])
        listing = "\n".join(
            f"{name} {s:.3f}" for name, s in zip(self.names, self.seconds, strict=True)
        )
        self.fingerprint = hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()
        self.audio = lru_cache(KEPT)(lambda index: _as_loud_as_can_be(load_audio(files[index])))


def _as_loud_as_can_be(audio: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
    """Normalise a recording to a peak of 0.95; silence stays, because a codec must learn it."""
    return audio if is_silent(audio) else normalise_peak(audio)
