"""TikTok Dance-Music (Zhu et al. 2022): 445 dance videos with 86 songs, as people film themselves.

The authors' lists name pieces of two seconds, ``./tiktok/motion_s2/000000_0_0_seg3.npy``: 60 frames
of 25 key points (OpenPose: x, y, confidence), with ``audio_s2/*.wav`` and ``video_s2/*.npy`` of the
same names: 2,384 pieces of 43 songs to train on, 307 of 43 others to test. Two layouts are read:

    motion_s2/, audio_s2/, video_s2/ and tiktok_motion_{train,test}_segment.txt
    motion/, audio/, video/ and {train,test}.txt

the first with pieces (``dance_pieces.py``), the second with whole dances. A line of a list is a
name, or a path of which only the last part counts. In ``000011_82_354_seg1`` 82 is the song and 354
the video: inter negatives come from other songs.
"""

import re
from pathlib import Path

from cdcd_jax.data.dance.dance_files import DanceFile, DanceFiles
from cdcd_jax.data.dance.motion import OPENPOSE_EDGES
from cdcd_jax.data.dance.pieces import Piece, find_pieces, list_pieces, piece_name
from cdcd_jax.data.dance.sound_files import SoundFiles
from cdcd_jax.data.images.caption_files import find_repeated
from cdcd_jax.reading.regular import read_text

SPLITS = ("train", "test")

FPS = 30.0

_SEGMENT = re.compile(r"_seg\d+$")


def load_tiktok(
    path: str | Path,
    split: str,
    *,
    video: str | Path | bool | None = None,
    seconds: float = 2.0,
) -> DanceFiles:
    """List the dances, or pieces of dances, of a split.

    Args:
        path: Folder of one of the two layouts.
        split: ``"train"`` or ``"test"``.
        video: Folder of ``<name>.npy``, features of each video; True for the layout's own, False
            for none, None for the layout's own if it is there.
        seconds: Length of the published pieces that are wanted.

    Returns:
        The dances in the order of the list; no genres, groups are songs.

    Raises:
        ValueError: If something is missing; the sentence names the file.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of TikTok, only {", ".join(SPLITS)}')
    path, video = Path(path), Path(video) if isinstance(video, str) else video
    root = find_pieces(path, "tiktok")
    if root is not None:
        found = list_pieces(root, "tiktok", split, seconds, video=video).pieces
    elif (path / "motion").is_dir():
        found = _whole_dances(path, split, video)
    else:
        raise ValueError(f"{path} has no folder motion or motion_s2 with key points; put it there")
    songs = {
        song: number for number, song in enumerate(dict.fromkeys(find_song(d.name) for d in found))
    }
    files = [
        DanceFile(dance.name, dance.audio, dance.motion, dance.video, songs[find_song(dance.name)])
        for dance in found
    ]
    return DanceFiles(
        f"TikTok Dance-Music, {split}",
        files,
        fps=FPS,
        edges=OPENPOSE_EDGES,
        piece_seconds=None if root is None else seconds,
    )


def _whole_dances(path: Path, split: str, video: Path | bool | None) -> list[Piece]:
    listing = path / f"{split}.txt"
    names = [piece_name(line) for line in read_text(listing).splitlines() if line.strip()]
    if repeated := find_repeated(names):
        raise ValueError(f"{listing} lists {repeated} twice; remove one of them")
    sounds = SoundFiles([path / "audio"])
    features = video if isinstance(video, Path) else path / "video"
    has_video = features.is_dir() if video is None else video is not False
    return [
        Piece(
            name,
            sounds.find(name),
            path / "motion" / f"{name}.npy",
            features / f"{name}.npy" if has_video else None,
        )
        for name in names
    ]


def find_song(name: str) -> str:
    """Return the song in a dance's name, or the name without a song.

    >>> find_song("000011_82_354_seg1"), find_song("my_dance_seg2")
    ('82', 'my_dance')
    """
    name = _SEGMENT.sub("", name)
    match = re.fullmatch(r"\d+_(\d+)_\d+", name)
    return match[1] if match else name
