import numpy as np
import pytest

from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.dance.tiktok import find_song, load_tiktok
from tests.support.dance_layouts import TIKTOK_TRAIN, write_tiktok


@pytest.mark.parametrize("suffix", ["_s2", ""])
def test_both_layouts_are_read(tmp_path, suffix):
    write_tiktok(tmp_path, suffix=suffix)
    dances = load_tiktok(tmp_path, "train")
    assert isinstance(dances, Dances)
    assert tuple(dances.names) == TIKTOK_TRAIN
    assert dances.genre_names == ()
    # Two pieces of one video, then another song.
    assert dances.groups.tolist() == [0, 0, 1]
    # Features of the videos are taken where they are there.
    assert (dances.fps, dances.num_features, dances.video_features) == (30.0, 75, 2048)
    assert load_tiktok(tmp_path, "train", video=False).video_features is None
    (tmp_path / f"video{suffix}").rename(tmp_path / "i3d")
    assert load_tiktok(tmp_path, "train").video_features is None
    dances = load_tiktok(tmp_path, "train", video=str(tmp_path / "i3d"))
    assert dances.video_features == 2048
    dance = dances[2]
    assert dance.motion.shape == (60, 75)
    assert (dance.genre, dance.tempo) == (0, None)
    assert dance.video.shape == (1 if suffix else 7, 2048)
    segments = Segments(dances, seconds=2.0, stride=2.0, samples=344 * 128)
    assert len(segments) == 3
    assert segments[1].motion.shape == (60, 75)


def test_points_of_an_image_are_turned_upright(tmp_path):
    write_tiktok(tmp_path)
    dances = load_tiktok(tmp_path, "train")
    motion = dances[0].motion
    joints = dances.joints(motion)
    assert joints.shape == (60, 25, 3)
    np.testing.assert_array_equal(joints[..., 0], motion[:, 0::3])
    np.testing.assert_array_equal(joints[..., 1], -motion[:, 1::3])
    assert not joints[..., 2].any()
    assert max(max(edge) for edge in dances.edges) == 24


def test_songs_stand_in_the_middle_of_names():
    names = ["000011_82_354_seg1", "000007_7_188_seg10", "000007_7_190", "other_seg3", "other"]
    assert [find_song(name) for name in names] == ["82", "7", "7", "other", "other"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'no split "val" of TikTok'):
        load_tiktok(tmp_path, "val")
    with pytest.raises(ValueError, match="has no folder motion or motion_s2"):
        load_tiktok(tmp_path, "train")
    write_tiktok(tmp_path)
    (tmp_path / "audio_s2" / "000001_1_21_seg1.wav").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of its 3 sound files, .*000001_1_21_seg1\.wav"):
        load_tiktok(tmp_path, "train")
    for listing in tmp_path.glob("tiktok_*_test_segment.txt"):
        listing.write_text("\n")
    with pytest.raises(ValueError, match="has no dances"):
        load_tiktok(tmp_path, "test")
    for listing in tmp_path.glob("tiktok_*_test_segment.txt"):
        listing.unlink()
    with pytest.raises(ValueError, match=r"no list tiktok_motion_test_segment\.txt of the pieces"):
        load_tiktok(tmp_path, "test")


def test_other_features_than_the_first_dance_has_are_named(tmp_path):
    write_tiktok(tmp_path)
    np.save(tmp_path / "motion_s2" / "000001_1_21_seg1.npy", np.zeros((60, 17, 3)))
    dances = load_tiktok(tmp_path, "train")
    with pytest.raises(ValueError, match=r"1_21_seg1\.npy has 51 features, but .* has 75"):
        dances[2]
