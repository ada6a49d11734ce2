import collections
import contextlib
import os
import pickle

import numpy as np
import pytest

from cdcd_jax.data.dance.motion import load_motion, motion_frames, smpl_features
from cdcd_jax.reading.array_pickles import load_pickle
from tests.support.dance_layouts import make_smpl, write_pickle


def rotate(vector, angle_axis):
    """Rodrigues' formula for one vector, independent of the module's."""
    angle = np.linalg.norm(angle_axis)
    axis = angle_axis / angle
    return (
        vector * np.cos(angle)
        + np.cross(axis, vector) * np.sin(angle)
        + axis * (axis @ vector) * (1 - np.cos(angle))
    )


def test_smpl_files_become_translation_and_rotations_row_by_row(tmp_path):
    held = make_smpl(seconds=0.5)
    write_pickle(tmp_path / "a.pkl", held)
    motion = load_motion(tmp_path / "a.pkl")
    assert motion.shape == (30, 219)
    assert motion.dtype == np.float32
    np.testing.assert_allclose(motion[:, :3], held["smpl_trans"] / 93.75, rtol=1e-5)
    matrices = motion[:, 3:].reshape(30, 24, 3, 3)
    vector = np.array([0.3, -1.0, 2.0])
    for frame, joint in ((0, 0), (7, 5), (29, 23)):
        turned = rotate(vector, held["smpl_poses"][frame].reshape(24, 3)[joint])
        np.testing.assert_allclose(matrices[frame, joint] @ vector, turned, atol=1e-5)


def test_axes_of_other_copies_are_understood(tmp_path):
    held = make_smpl(seconds=0.5)
    wanted = smpl_features(held["smpl_poses"], held["smpl_trans"], 93.75)
    other = {**held, "smpl_poses": held["smpl_poses"].reshape(30, 24, 3)}
    write_pickle(tmp_path / "a.pkl", other)
    np.savez(tmp_path / "a.npz", **held)
    for name in ("a.pkl", "a.npz"):
        np.testing.assert_array_equal(load_motion(tmp_path / name), wanted)
        assert motion_frames(tmp_path / name) == 30


def test_key_points_and_arrays(tmp_path):
    points = np.random.default_rng(0).normal(size=(20, 17, 3))
    write_pickle(tmp_path / "k.pkl", {"keypoints3d": points + 1, "keypoints3d_optim": points})
    write_pickle(tmp_path / "raw.pkl", {"keypoints3d": points})
    np.save(tmp_path / "k.npy", points)
    np.savez(tmp_path / "k.npz", motion=points)
    for name in ("k.pkl", "raw.pkl", "k.npy", "k.npz"):
        np.testing.assert_array_equal(
            load_motion(tmp_path / name), points.reshape(20, 51).astype(np.float32)
        )
        assert motion_frames(tmp_path / name) == 20


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_any_protocol_hold_the_same_arrays(tmp_path, protocol):
    held = {
        "column_major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(4, dtype=">f4"),
        "scalar": np.float64(2.5),
        "whole": np.arange(3, dtype=np.int16),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3)),
        "others": [1, "text", None, (2.0, True)],
    }
    write_pickle(tmp_path / "a.pkl", held, protocol=protocol)
    read = load_pickle(tmp_path / "a.pkl")
    assert read["others"] == held["others"]
    for name in list(held)[:-1]:
        np.testing.assert_array_equal(read[name], held[name])
        assert read[name].dtype == held[name].dtype


def test_pickles_of_numpy_1_are_read(tmp_path):
    data = pickle.dumps(np.arange(3.0), protocol=2)
    assert b"numpy._core" in data
    (tmp_path / "a.pkl").write_bytes(data.replace(b"numpy._core", b"numpy.core"))
    np.testing.assert_array_equal(load_pickle(tmp_path / "a.pkl"), np.arange(3.0))


class Command:
    """Runs a command where it is unpickled without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_executes_nothing(tmp_path):
    marker, path = tmp_path / "it ran".replace(" ", "_"), tmp_path / "evil.pkl"
    write_pickle(path, {**make_smpl(seconds=0.1), "extra": Command(marker)})
    with pytest.raises(ValueError, match=r"evil\.pkl .*imports (posix|nt)\.system"):
        load_motion(path)
    assert not marker.exists()
    # The same bytes do harm to one who is not careful, so the test can fail.
    pickle.loads(path.read_bytes())
    assert marker.exists()


def test_other_things_in_pickles_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    itself = []
    itself.append(itself)
    many = [0.0]
    for _ in range(7):
        many = [many] * 10
    cases = {
        "collections.OrderedDict": collections.OrderedDict(a=1),
        "not of numbers": np.array([{"a": 1}], dtype=object),
        "more things within each other": itself,
        "more things": many,
    }
    for reason, held in cases.items():
        write_pickle(path, held)
        with pytest.raises(ValueError, match=rf"a\.pkl cannot be read.*{reason}"):
            load_motion(path)


def test_every_cut_of_a_pickle_is_refused(tmp_path):
    path = tmp_path / "cut.pkl"
    whole = pickle.dumps(make_smpl(seconds=0.1))
    for size in (0, 1, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pkl cannot be read"):
            load_motion(path)


def test_bytes_changed_at_random_are_read_or_refused(tmp_path):
    path, rng = tmp_path / "a.pkl", np.random.default_rng(0)
    whole = pickle.dumps(make_smpl(seconds=0.1), protocol=4)
    for _ in range(200):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, 200, 3)] = rng.integers(0, 256, 3)
        path.write_bytes(data.tobytes())
        with contextlib.suppress(ValueError):
            assert isinstance(load_pickle(path), dict | list | tuple | np.ndarray | str | float)


def test_files_that_hold_no_motion_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.npy is not there"):
        load_motion(tmp_path / "none.npy")
    with pytest.raises(ValueError, match=r"none\.pkl cannot be read: No such file"):
        load_motion(tmp_path / "none.pkl")
    (tmp_path / "text.npy").write_text("text")
    with pytest.raises(
        ValueError, match=r"text\.npy cannot be read as an array: it holds no array of numbers"
    ):
        load_motion(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object))
    with pytest.raises(
        ValueError, match=r"objects\.npy cannot be read as an array: it holds no array of numbers"
    ):
        load_motion(tmp_path / "objects.npy")
    for array in (np.zeros(5), np.zeros((0, 3)), np.array([["a"]])):
        np.save(tmp_path / "odd.npy", array)
        with pytest.raises(ValueError, match=r"odd\.npy must hold numbers \[frames features\]"):
            load_motion(tmp_path / "odd.npy")
    bad = {
        "has no smpl_trans": {"smpl_trans": ...},
        "smpl_trans .*frames 3": {"smpl_trans": np.zeros((5, 3))},
        "one positive smpl_scaling": {"smpl_scaling": np.zeros(1)},
        "are not numbers": {"smpl_poses": "text"},
    }
    for reason, change in bad.items():
        held = {k: v for k, v in {**make_smpl(seconds=0.1), **change}.items() if v is not ...}
        write_pickle(tmp_path / "bad.pkl", held)
        with pytest.raises(ValueError, match=rf"bad\.pkl .*{reason}"):
            load_motion(tmp_path / "bad.pkl")
    write_pickle(tmp_path / "bad.pkl", {"joints": np.zeros((2, 3)), "more": 1})
    with pytest.raises(ValueError, match=r"neither smpl_poses nor keypoints3d, but joints, more"):
        load_motion(tmp_path / "bad.pkl")


def test_a_frame_that_is_no_number_stays_one():
    poses = np.zeros((3, 72))
    poses[1, 4] = np.nan
    features = smpl_features(poses, np.zeros((3, 3)), 1.0)
    assert np.isfinite(features).all(axis=1).tolist() == [True, False, True]
