"""Dances in pieces of a few seconds, as D2M-GAN and CDCD (Zhu et al. 2022, 2023) publish them.

    motion_s2/  audio_s2/  video_s2/    2 is the length of the pieces in seconds
        train/  test/                   AIST++'s pieces; TikTok's have no such folders
            <dance>_seg1.npy            of audio .wav

Which pieces a split has, and in which order, is in a list for each kind of file,
``aist_motion_train_segment.txt`` or, of six seconds, ``aist_motion_train_segment_s6.txt``. A line
is a path on the authors' computer, of which only the last part is used. The lists are in ``data/``
of the repository of CDCD and in ``dataset/`` of D2M-GAN's; they may be beside the folders, or in a
folder of one of these names there. Without lists all pieces of ``train/`` and ``test/`` are taken.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cdcd_jax.data.dance.sound_files import SoundFiles, list_files
from cdcd_jax.data.images.caption_files import find_repeated
from cdcd_jax.reading.regular import read_text

KINDS = ("motion", "audio", "video")

_FOLDER = re.compile(r"motion_s(\d+)")


class Piece(NamedTuple):
    """The files of a piece.

    Attributes:
        name: Without ending.
        audio: Its sound.
        motion: Its motion.
        video: Features of its video, or None.
    """

    name: str
    audio: Path
    motion: Path
    video: Path | None


class PieceList(NamedTuple):
    """The pieces of a split.

    Attributes:
        pieces: In the order of the list.
        listing: The list, or the folder that they were found in without one.
        suffix: What the names of files about these pieces end with: ``"_s6"``, nothing for 2 s.
    """

    pieces: list[Piece]
    listing: Path
    suffix: str


def find_pieces(path: Path, inside: str) -> Path | None:
    """Find the folder that holds ``motion_s2`` or the like.

    Args:
        path: Where to look.
        inside: Name of a sub-folder that it may be, as in the published lists.

    Returns:
        ``path``, its sub-folder, or None where there are no pieces.
    """
    return next((root for root in (path, path / inside) if _lengths(root)), None)


def list_pieces(
    root: Path, prefix: str, split: str, seconds: float, *, video: bool | Path | None = None
) -> PieceList:
    """List the pieces of a split.

    Args:
        root: From ``find_pieces``.
        prefix: What the names of the lists begin with, ``"aist"`` or ``"tiktok"``.
        split: Name of the split.
        seconds: Length of the pieces wanted.
        video: Whether to read features of the videos, or the folder they are in; None for those
            that are there.

    Returns:
        The pieces. That their files are there is not checked, but for films in place of sound.

    Raises:
        ValueError: If there are none of this length, or the lists contradict each other.
    """
    lengths = _lengths(root)
    if seconds not in lengths:
        there = ", ".join(f"{length} s (motion_s{length})" for length in lengths)
        raise ValueError(
            f"seconds = {seconds:g}, but {root} has pieces of {there}; set data.seconds to that, "
            "or put others there"
        )
    folders = {kind: root / f"{kind}_s{seconds:g}" for kind in KINDS}
    if isinstance(video, Path):
        folders["video"] = video
    if video is False or (video is None and not folders["video"].is_dir()):
        del folders["video"]
    for kind, folder in folders.items():
        if not folder.is_dir():
            raise ValueError(
                f"there is no folder {folder} for the {kind} of these pieces; put it there"
            )
        if (folder / split).is_dir():
            folders[kind] = folder / split
    suffix = "" if seconds == 2 else f"_s{seconds:g}"
    found = _read_lists(root, prefix, split, suffix)
    if found is None and folders["motion"].name == split:
        found = [path.stem for path in list_files(folders["motion"], (".npy",))], folders["motion"]
    if found is None:
        raise ValueError(
            f"{root} has no list {prefix}_motion_{split}_segment{suffix}.txt of the pieces of this "
            "split; it is in dataset/ of D2M-GAN's repository or data/ of CDCD's: put it there"
        )
    names, listing = found
    if repeated := find_repeated(names):
        raise ValueError(f"{listing} lists {repeated} twice; remove one of them")
    sounds = SoundFiles([folders["audio"]])
    pieces = [
        Piece(
            name,
            sounds.find(name),
            folders["motion"] / f"{name}.npy",
            folders["video"] / f"{name}.npy" if "video" in folders else None,
        )
        for name in names
    ]
    return PieceList(pieces, listing, suffix)


def piece_name(line: str) -> str:
    """Parse the name of a piece from a line of a list.

    >>> piece_name("/data/somebody/motion_s2/test/gPO_sBM_c01_d11_mPO1_ch02_seg1.npy")
    'gPO_sBM_c01_d11_mPO1_ch02_seg1'
    """
    return re.sub(r"\.(npy|wav)$", "", re.split(r"[\\/]", line.strip())[-1])


def _lengths(root: Path) -> list[int]:
    """Lengths of the pieces in a folder, in seconds."""
    folders = root.iterdir() if root.is_dir() else ()
    found = [_FOLDER.fullmatch(path.name) for path in folders if path.is_dir()]
    return sorted(int(match[1]) for match in found if match)


def _read_lists(
    root: Path, prefix: str, split: str, suffix: str
) -> tuple[Sequence[str], Path] | None:
    """Read the names in the lists of a split: there may be one for each kind, which agree."""
    places = [parent / name for parent in (root, root.parent) for name in ("", "dataset", "data")]
    lists: dict[Path, list[str]] = {}
    for kind in KINDS:
        name = f"{prefix}_{kind}_{split}_segment{suffix}.txt"
        listing = next((place / name for place in places if (place / name).is_file()), None)
        if listing is not None:
            lines = read_text(listing).splitlines()
            lists[listing] = [piece_name(line) for line in lines if line.strip()]
    if not lists:
        return None
    listing, names = next(iter(lists.items()))
    for other, theirs in lists.items():
        if theirs != names:
            raise ValueError(f"{listing} and {other} list other pieces; take lists that agree")
    return names, listing
