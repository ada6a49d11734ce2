"""TikTok Dance-Music (Zhu et al. 2022): 445 dance videos with 85 songs, as people film themselves.

The authors' lists name pieces of two seconds, ``./tiktok/motion_s2/000000_0_0_seg3.npy``: 60 frames
of 25 key points (OpenPose: x, y, confidence), with ``audio_s2/*.wav`` and ``video_s2/*.npy`` of the
same names. Two layouts are read:

    motion_s2/, audio_s2/, video_s2/ and tiktok_audio_{train,test}_segment.txt
    motion/, audio/, video/ and {train,test}.txt

the first with pieces, the second with whole dances. A line of a list is a name, or a path of which
only the last part counts. In ``000011_82_354_seg1`` 82 is the song and 354 the video: inter
negatives come from other songs.
"""

import re
from pathlib import Path

from cdcd_jax.data.caption_files import find_repeated, read_text
from cdcd_jax.data.dance_files import DanceFile, DanceFiles
from cdcd_jax.data.motion import OPENPOSE_EDGES

SPLITS = ("train", "test")

FPS = 30.0

_SEGMENT = re.compile(r"_seg\d+$")


def load_tiktok(path: str | Path, split: str, *, video: bool = False) -> DanceFiles:
    """List the dances, or pieces of dances, of a split.

    Args:
        path: Folder of one of the two layouts.
        split: ``"train"`` or ``"test"``.
        video: Whether to read features of the videos.

    Returns:
        The dances in the order of the list; no genres, groups are songs.

    Raises:
        ValueError: If something is missing; the sentence names the file.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of TikTok, only {", ".join(SPLITS)}')
    path = Path(path)
    suffix = "" if (path / "motion").is_dir() else "_s2"
    if not (path / f"motion{suffix}").is_dir():
        raise ValueError(f"{path} has no folder motion or motion_s2 with key points; put it there")
    listing = path / (f"tiktok_audio_{split}_segment.txt" if suffix else f"{split}.txt")
    lines = [line.strip() for line in read_text(listing).splitlines()]
    names = [Path(line).name.removesuffix(".wav").removesuffix(".npy") for line in lines if line]
    if repeated := find_repeated(names):
        raise ValueError(f"{listing} lists {repeated} twice; remove one of them")
    songs = {song: number for number, song in enumerate(dict.fromkeys(map(find_song, names)))}
    files = [
        DanceFile(
            name,
            path / f"audio{suffix}" / f"{name}.wav",
            path / f"motion{suffix}" / f"{name}.npy",
            path / f"video{suffix}" / f"{name}.npy" if video else None,
            songs[find_song(name)],
        )
        for name in names
    ]
    return DanceFiles(f"TikTok Dance-Music, {split}", files, fps=FPS, edges=OPENPOSE_EDGES)


def find_song(name: str) -> str:
    """Tell a dance's song from its name, or what counts as one.

    >>> find_song("000011_82_354_seg1"), find_song("my_dance_seg2")
    ('82', 'my_dance')
    """
    name = _SEGMENT.sub("", name)
    match = re.fullmatch(r"\d+_(\d+)_\d+", name)
    return match[1] if match else name
