"""AIST++ (Li et al. 2021): street and jazz dances in ten genres, with the music of AIST.

The annotations' folder is as it is downloaded:

    motions/<name>.pkl      SMPL parameters at 60 frames per second
    keypoints3d/<name>.pkl  17 key points in centimetres, y upwards
    splits/crossmodal_train.txt, crossmodal_val.txt, crossmodal_test.txt
    ignore_list.txt         sequences whose motion is wrong; they are left out

The music, ``mBR0.wav`` and so on, is AIST's own (Tsuchida et al. 2019) and is put in a folder
``music`` or ``wav`` beside them. A sequence and its music begin at the same time. A name says all
that is known: in ``gBR_sBM_cAll_d04_mBR0_ch01`` the genre BR (break), the kind of choreography, all
cameras, the dancer, the song BR0 and the choreography's number.
"""

import re
from pathlib import Path

from cdcd_jax.data.caption_files import find_repeated, read_text
from cdcd_jax.data.dance_files import DanceFile, DanceFiles
from cdcd_jax.data.motion import COCO_EDGES

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

FPS = 60.0

MUSIC_FOLDERS = ("music", "wav")

MOTION_FOLDERS = {"smpl": "motions", "keypoints": "keypoints3d"}

_NAME = re.compile(r"g([A-Z]{2})_s[A-Z]{2}_c\w+_d\d+_(m([A-Z]{2})([0-5]))_ch\d+")


def load_aist(
    path: str | Path,
    split: str,
    *,
    motion: str = "smpl",
    music: str | Path | None = None,
    video: str | Path | None = None,
) -> DanceFiles:
    """List the dances of a split of AIST++.

    Args:
        path: Folder of the annotations.
        split: ``"train"``, ``"val"`` or ``"test"`` of the cross-modal split, whose choreographies
            and songs do not overlap.
        motion: ``"smpl"``, 219 features as ``motion.smpl_features`` makes them, or ``"keypoints"``,
            51 positions, which can be drawn.
        music: Folder of the songs; None for ``music`` or ``wav`` in ``path``.
        video: Folder of ``<name>.npy``, features of each video [steps features]; None for none.

    Returns:
        The dances in the order of the split's list.

    Raises:
        ValueError: If something is missing or of another form; the sentence names the file.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of AIST++, only {", ".join(SPLITS)}')
    if motion not in MOTION_FOLDERS:
        raise ValueError(f'motion must be one of {", ".join(MOTION_FOLDERS)}, not "{motion}"')
    path = Path(path)
    listing = path / "splits" / f"crossmodal_{split}.txt"
    names = _read_names(listing)
    if repeated := find_repeated(names):
        raise ValueError(f"{listing} lists {repeated} twice; remove one of them")
    ignored = set(_read_names(path / "ignore_list.txt"))
    songs = _find_music(path) if music is None else Path(music)
    files = []
    for name in names:
        if name in ignored:
            continue
        genre, song, tempo = read_name(name, listing)
        features = None if video is None else Path(video) / f"{name}.npy"
        moves = path / MOTION_FOLDERS[motion] / f"{name}.pkl"
        files.append(DanceFile(name, songs / f"{song}.wav", moves, features, genre, genre, tempo))
    positions = motion == "keypoints"
    return DanceFiles(
        f"AIST++, {split}",
        files,
        fps=FPS,
        genre_names=tuple(GENRES.values()),
        edges=COCO_EDGES if positions else (),
    )


def read_name(name: str, listing: str | Path = "AIST++") -> tuple[int, str, float]:
    """Tell genre, song and tempo from a sequence's name.

    Songs 0..5 of a genre have 80, 90 .. 130 beats per minute; those of house 110, 115 .. 135.

    Args:
        name: Of a sequence.
        listing: Where it was found, for the message.

    Returns:
        Number of the genre in ``GENRES``, name of the song, beats per minute.

    Raises:
        ValueError: If the name is no sequence's.

    >>> read_name("gBR_sBM_cAll_d04_mBR0_ch01"), read_name("gHO_sFM_cAll_d19_mHO3_ch04")
    ((0, 'mBR0', 80.0), (5, 'mHO3', 125.0))
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in GENRES or match[3] not in GENRES:
        raise ValueError(
            f"{listing}: {name!r:.60} is no name of AIST++ such as gBR_sBM_cAll_d04_mBR0_ch01"
        )
    first, step = (110, 5) if match[3] == "HO" else (80, 10)
    return list(GENRES).index(match[1]), match[2], float(first + step * int(match[4]))


def _read_names(path: Path) -> list[str]:
    return read_text(path).split()


def _find_music(path: Path) -> Path:
    for name in MUSIC_FOLDERS:
        if (path / name).is_dir():
            return path / name
    raise ValueError(
        f"{path} has no folder {' or '.join(MUSIC_FOLDERS)} with the songs of AIST (mBR0.wav ...); "
        "put it there or say where it is"
    )
