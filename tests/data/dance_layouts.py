"""AIST++ and TikTok Dance-Music in miniature, as the folders that one downloads lie on a disk."""

import pickle

import numpy as np
import soundfile

AIST_TRAIN = ("gBR_sBM_cAll_d04_mBR0_ch01", "gHO_sFM_cAll_d19_mHO3_ch04")
AIST_TEST = ("gPO_sBM_cAll_d10_mPO1_ch02",)
AIST_IGNORED = "gWA_sBM_cAll_d25_mWA0_ch01"
TIKTOK_TRAIN = ("000000_0_0_seg1", "000000_0_0_seg2", "000001_1_21_seg1")
TIKTOK_TEST = ("000007_7_188_seg1",)


def write_sound(path, *, seconds=3.0, sample_rate=22_050, channels=1, pitch=220.0):
    """Write a tone that gets louder, so that every part of it is recognised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = 0.8 * np.sin(2 * np.pi * pitch * times) * (0.2 + 0.8 * times / seconds)
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), sample_rate)


def make_smpl(*, seconds=3.0, fps=60, seed=0):
    """Draw the parameters that a motion file of AIST++ holds."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * fps)
    return {
        "smpl_loss": 0.1,
        "smpl_poses": rng.normal(0, 0.4, (frames, 72)),
        "smpl_scaling": np.array([93.75]),
        "smpl_trans": np.cumsum(rng.normal(0, 0.5, (frames, 3)), axis=0),
    }


def write_pickle(path, held, *, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(held, protocol=protocol))


def write_aist(folder, *, seconds=3.0, music="music", video_steps=None):
    """Write two training dances, one to test, and one that is on the ignore list."""
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    splits = {"train": (*AIST_TRAIN, AIST_IGNORED), "val": AIST_TEST, "test": AIST_TEST}
    for split, names in splits.items():
        (folder / "splits" / f"crossmodal_{split}.txt").write_text("\n".join(names) + "\n")
    (folder / "ignore_list.txt").write_text(AIST_IGNORED + "\n")
    for number, name in enumerate((*AIST_TRAIN, *AIST_TEST)):
        held = make_smpl(seconds=seconds, seed=number)
        write_pickle(folder / "motions" / f"{name}.pkl", held)
        points = held["smpl_trans"][:, None] + np.arange(51.0).reshape(1, 17, 3)
        held = {"keypoints3d": points + 1, "keypoints3d_optim": points}
        write_pickle(folder / "keypoints3d" / f"{name}.pkl", held)
        song = name.split("_")[4]
        write_sound(folder / music / f"{song}.wav", seconds=seconds + 1, pitch=220 + 60 * number)
        if video_steps is not None:
            (folder / "video").mkdir(exist_ok=True)
            steps = np.arange(video_steps, dtype=np.float32)[:, None]
            np.save(folder / "video" / f"{name}.npy", np.repeat(steps, 2048, axis=1))


def write_tiktok(folder, *, suffix="_s2", seconds=2.0):
    """Write the published layout of pieces, or with no suffix that of whole dances."""
    for split, names in {"train": TIKTOK_TRAIN, "test": TIKTOK_TEST}.items():
        listing = f"tiktok_audio_{split}_segment.txt" if suffix else f"{split}.txt"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"./tiktok/audio{suffix}/{name}.wav" for name in names] if suffix else names
        (folder / listing).write_text("\n".join(lines) + "\n")
        for number, name in enumerate(names):
            write_sound(folder / f"audio{suffix}" / f"{name}.wav", seconds=seconds)
            points = np.random.default_rng(number).uniform(0, 500, (round(seconds * 30), 25, 3))
            for kind, array in {"motion": points, "video": np.ones((7, 2048))}.items():
                (folder / f"{kind}{suffix}").mkdir(exist_ok=True)
                np.save(folder / f"{kind}{suffix}" / f"{name}.npy", array.astype(np.float32))
