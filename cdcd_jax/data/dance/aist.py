"""AIST++ (Li et al. 2021): street and jazz dances in ten genres, with the music of AIST.

Two layouts are read. The annotations' folder as it is downloaded:

    motions/<name>.pkl      SMPL parameters at 60 frames per second
    keypoints3d/<name>.pkl  17 key points in centimetres, y upwards
    splits/crossmodal_train.txt, crossmodal_val.txt, crossmodal_test.txt
    ignore_list.txt         sequences whose motion is wrong; they are left out

with AIST's own music (Tsuchida et al. 2019) beside them, in a folder ``music``, ``wav``, ``wavs``
or ``all_musics``: a file for each song, ``mBR0.wav`` or ``.mp3`` and so on, or one for each
sequence. A sequence and its music begin at the same time. Or the pieces of D2M-GAN and CDCD,
``dance_pieces.py``, with features of the videos.

A name says all that is known: in ``gBR_sBM_cAll_d04_mBR0_ch01`` the genre BR (break), the kind of
choreography, all cameras, the dancer, the song BR0 and the choreography's number. The authors'
pieces are of camera 1, and end with their number: ``gBR_sBM_c01_d04_mBR0_ch01_seg1``.
"""

import re
from pathlib import Path

import numpy as np

from cdcd_jax.data.dance.dance_files import DanceFile, DanceFiles, load_video
from cdcd_jax.data.dance.motion import COCO_EDGES
from cdcd_jax.data.dance.pieces import PieceList, find_pieces, list_pieces
from cdcd_jax.data.dance.sound_files import SoundFiles
from cdcd_jax.data.images.caption_files import find_repeated
from cdcd_jax.reading.regular import read_text

SPLITS = ("train", "val", "test")

GENRES = {
    "BR": "break",
    "PO": "pop",
    "LO": "lock",
    "MH": "middle hip-hop",
    "LH": "LA-style hip-hop",
    "HO": "house",
    "WA": "waack",
    "KR": "krump",
    "JS": "street jazz",
    "JB": "ballet jazz",
}
"""In the order of their numbers, which is that of the published genre files: all their 9,371 rows
agree with the names of their pieces."""

FPS = 60.0

MUSIC_FOLDERS = ("music", "wav", "wavs", "all_musics")

MOTION_FOLDERS = {"smpl": "motions", "keypoints": "keypoints3d"}

_NAME = re.compile(r"g([A-Z]{2})_s[A-Z]{2}_c\w+_d\d+_(m([A-Z]{2})([0-5]))_ch\d+(_seg\d+)?")


def load_aist(
    path: str | Path,
    split: str,
    *,
    motion: str = "smpl",
    music: str | Path | None = None,
    video: str | Path | None = None,
    seconds: float = 2.0,
) -> DanceFiles:
    """List the dances of a split of AIST++.

    Args:
        path: Folder of the annotations, or of the published pieces.
        split: ``"train"``, ``"val"`` or ``"test"`` of the cross-modal split, whose choreographies
            and songs do not overlap.
        motion: ``"smpl"``, 219 features as ``motion.smpl_features`` makes them, or ``"keypoints"``,
            51 positions, which can be drawn.
        music: Folder of the songs; None for one of ``MUSIC_FOLDERS`` in ``path``.
        video: Folder of ``<name>.npy``, features of each video [steps features]; None for none, or
            for those that are beside published pieces.
        seconds: Length of the published pieces that are wanted.

    Returns:
        The dances in the order of the split's list.

    Raises:
        ValueError: If something is missing or malformed; the sentence names the file.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of AIST++, only {", ".join(SPLITS)}')
    if motion not in MOTION_FOLDERS:
        raise ValueError(f'motion must be one of {", ".join(MOTION_FOLDERS)}, not "{motion}"')
    path, video = Path(path), None if video is None else Path(video)
    if root := find_pieces(path, "aistplus"):
        if motion != "smpl" or music is not None:
            raise ValueError(
                f"{root} holds published pieces with music and SMPL features of their own; leave "
                "data.motion and data.music as they are"
            )
        found = list_pieces(root, "aist", split, seconds, video=video)
        files = [
            DanceFile(piece.name, piece.audio, piece.motion, piece.video, genre, genre, tempo)
            for piece in found.pieces
            for genre, _, tempo in [read_name(piece.name, found.listing)]
        ]
        _check_genres(found, split, [file.genre for file in files])
        return _make_files(f"AIST++ in pieces of {seconds:g} s, {split}", files, seconds)
    files = _sequences(path, split, motion, None if music is None else Path(music), video)
    return _make_files(f"AIST++, {split}", files, edges=COCO_EDGES if motion == "keypoints" else ())


def _make_files(name: str, files: list[DanceFile], piece_seconds: float | None = None, **options):
    genres = tuple(GENRES.values())
    return DanceFiles(
        name, files, fps=FPS, genre_names=genres, piece_seconds=piece_seconds, **options
    )


def _sequences(
    path: Path, split: str, motion: str, music: Path | None, video: Path | None
) -> list[DanceFile]:
    """List the sequences of the annotations with their songs."""
    listing = path / "splits" / f"crossmodal_{split}.txt"
    if not listing.parent.is_dir():
        raise ValueError(
            f"{path} has neither the folder splits of AIST++ nor motion_s2 of the published "
            "pieces; give the folder that one of them is in"
        )
    names = _read_names(listing)
    if repeated := find_repeated(names):
        raise ValueError(f"{listing} lists {repeated} twice; remove one of them")
    ignored = set(_read_names(path / "ignore_list.txt"))
    sounds = SoundFiles(_find_music(path) if music is None else [music], _without_camera)
    files = []
    for name in names:
        if name in ignored:
            continue
        genre, song, tempo = read_name(name, listing)
        features = None if video is None else video / f"{name}.npy"
        moves = path / MOTION_FOLDERS[motion] / f"{name}.pkl"
        sound = sounds.find(name, song)
        files.append(DanceFile(name, sound, moves, features, genre, genre, tempo))
    return files


def read_name(name: str, listing: str | Path = "AIST++") -> tuple[int, str, float]:
    """Read genre, song and tempo off the name of a sequence or of a piece of one.

    Songs 0..5 of a genre have 80, 90 .. 130 beats per minute; those of house 110, 115 .. 135.

    Args:
        name: Of a sequence or a piece.
        listing: Where it was found, for the message.

    Returns:
        Number of the genre in ``GENRES``, name of the song, beats per minute.

    Raises:
        ValueError: If the name is not a sequence's.

    >>> read_name("gBR_sBM_cAll_d04_mBR0_ch01"), read_name("gHO_sFM_c01_d19_mHO3_ch04_seg2")
    ((0, 'mBR0', 80.0), (5, 'mHO3', 125.0))
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in GENRES or match[3] not in GENRES:
        raise ValueError(
            f"{listing}: {name!r:.60} is not a name of AIST++ such as gBR_sBM_cAll_d04_mBR0_ch01"
        )
    first, step = (110, 5) if match[3] == "HO" else (80, 10)
    return list(GENRES).index(match[1]), match[2], float(first + step * int(match[4]))


def _check_genres(found: PieceList, split: str, genres: list[int]) -> None:
    """Compare the genres of the names with the published ``train_genre.npy``, where it is there."""
    path = found.listing.parent / f"{split}_genre{found.suffix}.npy"
    if not path.is_file():
        return
    rows = load_video(path)
    if rows.shape != (len(genres), len(GENRES)):
        raise ValueError(
            f"{path} must have a row of {len(GENRES)} numbers for each of the {len(genres)} pieces "
            f"in {found.listing}, not {list(rows.shape)}; take the file of this list"
        )
    if wrong := np.flatnonzero(rows.argmax(axis=1) != genres).tolist():
        raise ValueError(
            f"{path} says of piece {wrong[0]}, {found.pieces[wrong[0]].name}, that it is "
            f"{list(GENRES.values())[rows[wrong[0]].argmax()]}; take the file of this list"
        )


def _without_camera(name: str) -> str:
    """Name a sequence without its camera: its films have numbers, the annotations ``cAll``."""
    return re.sub(r"_c(\d\d|All)_", "_", name)


def _read_names(path: Path) -> list[str]:
    return read_text(path).split()


def _find_music(path: Path) -> list[Path]:
    folders = [path / name for name in MUSIC_FOLDERS if (path / name).is_dir()]
    if not folders:
        raise ValueError(
            f"{path} has no folder {', '.join(MUSIC_FOLDERS[:-1])} or {MUSIC_FOLDERS[-1]} with the "
            "songs of AIST (mBR0.wav ...) or a file for each sequence; put it there, or name it in "
            "data.music"
        )
    return folders
