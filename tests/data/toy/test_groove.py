from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelmin

from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.toy.groove import GENRES, load_groove
from cdcd_jax.data.toy.groove_dancer import EDGES, STYLES
from cdcd_jax.data.toy.groove_music import KITS, STEPS

NUM_TRAIN, NUM_TEST = 20, 10


@pytest.fixture(scope="module")
def train():
    dances = load_groove("train", num_dances=NUM_TRAIN, seconds=8.0)
    return dances, [dances[index] for index in range(NUM_TRAIN)]


@pytest.fixture(scope="module")
def test_set():
    dances = load_groove("test", num_dances=NUM_TEST, seconds=8.0)
    return dances, [dances[index] for index in range(NUM_TEST)]


def kinematic_beats(joints, fps):
    """Find local minima of the joints' mean speed; a speed is between two frames."""
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1).mean(axis=1)
    return (argrelmin(gaussian_filter1d(speed, 2), order=8)[0] + 0.5) / fps


def test_it_is_a_set_of_dances(train):
    dances, made = train
    assert isinstance(dances, Dances)
    assert "synthetic" in dances.name
    assert len(set(dances.names)) == len(dances) == NUM_TRAIN
    assert dances.genre_names == GENRES == tuple(KITS) == tuple(STYLES)
    for dance, name, group in zip(made, dances.names, dances.groups, strict=True):
        assert (dance.name, dance.genre) == (name, group)
        assert dance.audio.shape == (8 * 22_050,)
        assert dance.audio.dtype == dance.motion.dtype == np.float32
        assert dance.motion.shape == (480, dances.num_features) == (480, 51)
        assert np.isfinite(dance.motion).all()
        assert 80 <= dance.tempo <= 135


def test_the_dancer_is_slowest_on_the_beats_and_only_there(train, test_set):
    for dances, made in (train, test_set):
        for index, dance in enumerate(made):
            found = kinematic_beats(dances.joints(dance.motion), dances.fps)
            beats = dances.beat_times(index)
            # Near an end there is no minimum to be found, as it needs neighbours.
            inner = beats[(beats > 0.2) & (beats < 7.8)]
            distance = np.abs(found[:, None] - inner[None]).min(axis=0)
            assert distance.max() < 0.05, (dance.name, distance.max())
            found = found[(found > 0.2) & (found < 7.8)]
            stray = np.abs(found[:, None] - beats[None]).min(axis=1) > 0.05
            assert stray.mean() <= 0.1, dance.name


def test_every_beat_of_the_music_has_an_onset(train):
    dances, made = train
    for index, dance in enumerate(made):
        hop = 220
        frames = dance.audio[: len(dance.audio) // hop * hop].reshape(-1, hop)
        level = np.log(np.sqrt((frames**2).mean(axis=1)) + 0.01)
        rise = np.maximum(np.diff(level, prepend=level[0]), 0)
        beats = dances.beat_times(index)
        places = np.round(beats[(beats > 0.1) & (beats < 7.8)] * 22_050 / hop).astype(int)
        window = places[:, None] + np.arange(-2, 3)[None]
        assert rise[window].max(axis=1).min() > 3 * rise.mean(), dance.name


def test_every_beat_has_a_kick_or_a_snare():
    for kit in KITS.values():
        patterns = (kit.kick, kit.snare, kit.hat, kit.chord, kit.bass)
        assert {len(pattern) for pattern in patterns} == {STEPS}
        assert all(kit.kick[step] + kit.snare[step] != "00" for step in range(0, STEPS, 4))


def test_music_reaches_its_peak_and_is_not_clipped(train):
    for dance in train[1]:
        largest = np.abs(dance.audio).max()
        assert largest == pytest.approx(0.95)
        # Clipped sound stays at its peak for several samples.
        assert (np.abs(dance.audio) > 0.949).sum() < 50


def test_bones_keep_their_length(train):
    dances, made = train
    first, second = np.array(EDGES).T
    for dance in made[:5]:
        joints = dances.joints(dance.motion)
        lengths = np.linalg.norm(joints[:, first] - joints[:, second], axis=-1)
        assert np.ptp(lengths, axis=0).max() < 1e-5
        assert joints[:, [3, 6], 1].min(axis=1) == pytest.approx(0, abs=1e-6)


def motion_statistics(dance):
    joints = dance.motion.reshape(len(dance.motion), 17, 3)
    joints = joints[:, 1:] - joints[:, :1]
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    return np.concatenate([joints[..., 1].std(axis=0), speed.mean(axis=0)])


def sound_statistics(dance):
    frames = dance.audio[: 8 * 21 * 1050].reshape(-1, 1050) * np.hanning(1050)[None]
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.geomspace(2, 500, 20).astype(int)
    bands = [power[:, low : high + 1].sum(axis=1) for low, high in pairwise(edges)]
    return np.log(np.mean(bands, axis=1) + 1e-4)


@pytest.mark.parametrize("statistics", [motion_statistics, sound_statistics])
def test_motion_alone_and_music_alone_tell_the_genre(train, test_set, statistics):
    known = np.stack([statistics(dance) for dance in train[1]])
    asked = np.stack([statistics(dance) for dance in test_set[1]])
    scale = known.std(axis=0) + 1e-6  # the hips do not move against the pelvis
    known, asked = (known - known.mean(axis=0)) / scale, (asked - known.mean(axis=0)) / scale
    centres = np.stack([known[train[0].groups == genre].mean(axis=0) for genre in range(5)])
    nearest = ((asked[:, None] - centres[None]) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest == test_set[0].groups).mean() >= 0.9


def test_dances_follow_from_seed_split_and_index(train):
    dances, made = train
    with ThreadPoolExecutor(4) as pool:
        again = list(
            pool.map(load_groove("train", num_dances=4, seconds=8.0).__getitem__, range(4))
        )
    for one, other in zip(again, made, strict=False):
        assert one.tempo == other.tempo
        np.testing.assert_array_equal(one.audio, other.audio)
        np.testing.assert_array_equal(one.motion, other.motion)
    for other in (load_groove("test", seconds=8.0), load_groove("train", seconds=8.0, seed=1)):
        assert other.fingerprint != dances.fingerprint
        assert other.clock(0) != dances.clock(0)
    assert len({dances.clock(index) for index in range(NUM_TRAIN)}) == NUM_TRAIN


def test_splits_have_their_sizes():
    assert (len(load_groove("train")), len(load_groove("test"))) == (160, 40)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r'no split "val" of groove, only train, test'):
        load_groove("val")
    for bad in ({"num_dances": 0}, {"seconds": 0.5}, {"seed": -1}):
        with pytest.raises(ValueError, match="groove needs"):
            load_groove("train", **bad)
    with pytest.raises(IndexError):
        load_groove("train")[160]
