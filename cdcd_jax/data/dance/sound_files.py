"""Lookup of the sound files of a folder by name."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cdcd_jax.data.images.sources import is_clutter

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")
"""Endings of files that are read as sound, in lower case; of files with the same name the first
ending counts."""

FILM_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4a", ".aac")
"""Endings of files whose sound has to be taken out by ffmpeg first."""


def list_files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Iterate over a folder's files with some endings, in the order of their names."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes and not is_clutter(path.name):
            yield path


def film_command(folder: Path, suffix: str) -> str:
    r"""Return the command that extracts the sound of all films of a folder.

    >>> film_command(Path("my films"), ".mp4")
    'for film in \'my films\'/*.mp4; do ffmpeg -i "$film" -vn "${film%.*}.wav"; done'
    """
    films = f"{shlex.quote(str(folder))}/*{suffix}"
    return f'for film in {films}; do ffmpeg -i "$film" -vn "${{film%.*}}.wav"; done'


def film_error(film: Path) -> ValueError:
    """Return the error of a film where sound is wanted, with the command to run."""
    return ValueError(
        f"{film} is a film, and only sound files are read; take the sound out with "
        f"`{film_command(film.parent, film.suffix)}`"
    )


class SoundFiles:
    """The sound files of some folders, found by their names without ending.

    Args:
        folders: Where to look, the first one first; those that are not there are skipped.
        key: Turns a name into what it is found by.
    """

    def __init__(self, folders: Sequence[Path], key: Callable[[str], str] = str):
        self._folders, self._key = folders, key
        self._sounds = self._index(SUFFIXES)
        self._films = self._index(FILM_SUFFIXES)

    def find(self, *names: str) -> Path:
        """Find the file of the first name that has one.

        Args:
            *names: What the file may be called.

        Returns:
            The file; a path that is not there if there is none.

        Raises:
            ValueError: If there is only a film; the sentence has the command to run.
        """
        for name in names:
            if found := self._sounds.get(self._key(name)):
                return found
        for name in names:
            if film := self._films.get(self._key(name)):
                raise film_error(film)
        return self._folders[0] / f"{names[-1]}.wav"

    def _index(self, suffixes: Sequence[str]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            files = list(list_files(folder, suffixes))
            files.sort(key=lambda path: suffixes.index(path.suffix.lower()))
            for path in files:
                found.setdefault(self._key(path.stem), path)
        return found
