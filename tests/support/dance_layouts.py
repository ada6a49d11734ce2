"""AIST++ and TikTok Dance-Music in miniature, as the folders that one downloads are on a disk."""

import json

import numpy as np
import soundfile

from cdcd_jax.data.miniature import aist, tiktok
from cdcd_jax.data.miniature.aist import smpl_content, write_pickle

__all__ = ["AIST_TEST", "AIST_TRAIN", "PIECES_TEST", "PIECES_TRAIN", "TIKTOK_TEST", "TIKTOK_TRAIN",
           "make_smpl", "make_tone", "write_aist", "write_aist_pieces", "write_lists",
           "write_pickle", "write_piece_negatives", "write_sound", "write_tiktok"]  # fmt: skip

AIST_TRAIN = ("gBR_sBM_cAll_d04_mBR0_ch01", "gHO_sFM_cAll_d19_mHO3_ch04")
AIST_TEST = ("gPO_sBM_cAll_d10_mPO1_ch02",)
AIST_IGNORED = "gWA_sBM_cAll_d25_mWA0_ch01"
GENRE_CODES = ("BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB")
PIECES_TRAIN = (
    "gLO_sBM_c01_d14_mLO5_ch04_seg1",
    "gMH_sFM_c01_d23_mMH1_ch09_seg16",
    "gMH_sFM_c01_d23_mMH1_ch09_seg2",
    "gHO_sFM_c01_d20_mHO1_ch09_seg1",
)
PIECES_TEST = ("gPO_sBM_c01_d11_mPO1_ch02_seg1", "gLH_sBM_c01_d17_mLH4_ch02_seg2")
TIKTOK_TRAIN = ("000000_0_0_seg1", "000000_0_0_seg2", "000001_1_21_seg1")
TIKTOK_TEST = ("000007_7_188_seg1",)


def make_tone(*, seconds=3.0, sample_rate=22_050, pitch=220.0):
    """Make a tone that gets louder, so that every part of it is recognised."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return 0.8 * np.sin(2 * np.pi * pitch * times) * (0.2 + 0.8 * times / seconds)


def write_sound(path, *, seconds=3.0, sample_rate=22_050, channels=1, pitch=220.0):
    """Write such a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = make_tone(seconds=seconds, sample_rate=sample_rate, pitch=pitch)
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), sample_rate)


def make_smpl(*, seconds=3.0, fps=60, seed=0):
    """Draw the parameters that a motion file of AIST++ holds."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * fps)
    poses = rng.normal(0, 0.4, (frames, 72))
    return smpl_content(poses, np.cumsum(rng.normal(0, 0.5, (frames, 3)), axis=0))


def write_aist(folder, *, seconds=3.0, music="music", video_steps=None):
    """Write two training dances, one to test, and one that is on the ignore list."""
    motions, points, songs, videos = {}, {}, {}, {}
    for number, name in enumerate((*AIST_TRAIN, *AIST_TEST)):
        motions[name] = make_smpl(seconds=seconds, seed=number)
        steps = np.arange(51.0).reshape(1, 17, 3)
        points[name] = motions[name]["smpl_trans"][:, None] + steps
        songs[name.split("_")[4]] = make_tone(seconds=seconds + 1, pitch=220 + 60 * number)
        if video_steps is not None:
            videos[name] = np.repeat(np.arange(float(video_steps))[:, None], 2048, axis=1)
    aist.write_aist(
        folder,
        splits={"train": (*AIST_TRAIN, AIST_IGNORED), "val": AIST_TEST, "test": AIST_TEST},
        motions=motions,
        key_points=points,
        songs=songs,
        videos=videos,
        ignored=(AIST_IGNORED,),
        music=music,
    )


def write_tiktok(folder, *, suffix="_s2", seconds=2.0):
    """Write the published layout of pieces, or with no suffix that of whole dances."""
    splits = {"train": TIKTOK_TRAIN, "test": TIKTOK_TEST}
    names, points = [*TIKTOK_TRAIN, *TIKTOK_TEST], {}
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        points[name] = rng.uniform(0, 500, (round(seconds * 30), 25, 3))
    tiktok.write_tiktok(
        folder,
        splits,
        audio={name: make_tone(seconds=seconds) for name in names},
        key_points=points,
        videos={name: np.ones((1 if suffix else 7, 2048)) for name in names},
        suffix=suffix,
    )


def write_lists(folder, prefix, split, names, where, suffix=""):
    """Write the three lists of pieces that the authors publish for a split."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, ending in {"motion": "npy", "audio": "wav", "video": "npy"}.items():
        path = where.format(kind=kind)
        lines = [f"{path}/{name}.{ending}" for name in names]
        (folder / f"{prefix}_{kind}_{split}_segment{suffix}.txt").write_text(
            "\n".join(lines) + "\n"
        )


def write_aist_pieces(folder, *, seconds=2, lists="dataset"):
    """Write D2M-GAN's and CDCD's layout of pieces with what macOS and archivers leave in it.

    Args:
        folder: Where the pieces go.
        seconds: Of a piece.
        lists: Sub-folder of the lists and genres; None writes none, as in the archives of pieces.
    """
    genres = list(GENRE_CODES)
    suffix = "" if seconds == 2 else f"_s{seconds}"
    for split, names in {"train": PIECES_TRAIN, "test": PIECES_TEST}.items():
        for number, name in enumerate(names):
            rng = np.random.default_rng(number)
            pitch = 220 + 60 * number
            write_sound(
                folder / f"audio_s{seconds}/{split}/{name}.wav", seconds=seconds, pitch=pitch
            )
            arrays = {
                "motion": rng.normal(size=(60 * seconds, 219)),
                "video": rng.normal(size=(1, 2048)),
            }
            for kind, array in arrays.items():
                place = folder / f"{kind}_s{seconds}" / split
                place.mkdir(parents=True, exist_ok=True)
                np.save(place / f"{name}.npy", array.astype(np.float32))
                (place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
                (place / f"._{name}.npy").write_bytes(b"\0\5\x16\7")
        if lists is not None:
            where = "/data/zhuye/aistplus/{kind}_s" + f"{seconds}/{split}"
            write_lists(folder / lists, "aist", split, names, where, suffix)
            rows = np.eye(10)[[genres.index(name[1:3]) for name in names]]
            np.save(folder / lists / f"{split}_genre{suffix}.npy", rows)
    (folder / "__MACOSX" / "motion_s2").mkdir(parents=True, exist_ok=True)


def write_piece_negatives(path):
    """Write two negatives of other genres for each training piece, in the order of the list."""
    listed = [
        [
            f"/data/zhuye/aistplus/audio_s2/train/{other}.wav"
            for other in PIECES_TRAIN
            if other[1:3] != own[1:3]
        ]
        for own in PIECES_TRAIN
    ]
    path.write_text(json.dumps(listed))
