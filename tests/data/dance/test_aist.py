import re

import numpy as np
import pytest
import soundfile

from cdcd_jax.data.dance.aist import GENRES, load_aist, read_name
from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.segments import Segments
from tests.support.dance_layouts import AIST_TRAIN, write_aist, write_pickle, write_sound


def test_a_split_is_read_as_it_is_downloaded(tmp_path):
    write_aist(tmp_path)
    dances = load_aist(tmp_path, "train")
    assert isinstance(dances, Dances)
    assert tuple(dances.names) == AIST_TRAIN
    assert len(dances.genre_names) == 10
    assert (dances.fps, dances.num_features, dances.video_features) == (60.0, 219, None)
    assert dances.groups.tolist() == [0, 5]
    # The music lasts a second longer than the dance.
    np.testing.assert_allclose(dances.seconds, 3.0)
    dance = dances[1]
    assert (dance.genre, dance.tempo, dance.video) == (5, 125.0, None)
    assert dance.audio.shape == (4 * 22_050,)
    assert dance.motion.shape == (180, 219)
    assert dances.joints(dance.motion) is None
    assert len(load_aist(tmp_path, "test")) == 1


def test_key_points_are_positions(tmp_path):
    write_aist(tmp_path, music="wav")
    dances = load_aist(tmp_path, "train", motion="keypoints")
    joints = dances.joints(dances[0].motion)
    assert joints.shape == (180, 17, 3)
    np.testing.assert_allclose(joints[0, 5] - joints[0, 4], 3.0, rtol=1e-4)
    assert max(max(edge) for edge in dances.edges) == 16


def test_videos_and_windows(tmp_path):
    write_aist(tmp_path, video_steps=12)
    dances = load_aist(tmp_path, "train", video=tmp_path / "video")
    assert dances.video_features == 2048
    segments = Segments(dances, seconds=2.0, stride=1.0, samples=344 * 128, video_steps=4)
    assert [segments.segment_name(number) for number in (0, 1)] == [
        f"{AIST_TRAIN[0]}@0.0s",
        f"{AIST_TRAIN[0]}@1.0s",
    ]
    assert segments[1].video[:, 0].tolist() == [5, 7, 9, 11]
    np.save(tmp_path / "video" / f"{AIST_TRAIN[1]}.npy", np.ones(100))
    with pytest.raises(ValueError, match=r"mHO3_ch04\.npy has 100 features, but .* has 2048"):
        dances[1]


@pytest.mark.parametrize(
    ("folder", "stem", "ending"),
    [
        ("music", "song", ".mp3"),
        ("wavs", "sequence", ".wav"),
        ("all_musics", "song", ".WAV"),
        ("wav", "film", ".ogg"),  # AIST's films are of one camera
        ("music", "song", ".flac"),
    ],
)
def test_songs_are_found_as_people_hold_them(tmp_path, folder, stem, ending):
    write_aist(tmp_path)
    (tmp_path / "music").rename(tmp_path / "before")
    for name in AIST_TRAIN:
        song = name.split("_")[4]
        called = {"song": song, "sequence": name, "film": name.replace("cAll", "c01")}[stem]
        audio, rate = soundfile.read(tmp_path / "before" / f"{song}.wav")
        (tmp_path / folder).mkdir(exist_ok=True)
        soundfile.write(tmp_path / folder / f"{called}{ending}", audio, rate)
        (tmp_path / folder / f"._{called}{ending}").write_bytes(b"\0\5\x16\7")
    dances = load_aist(tmp_path, "train")
    np.testing.assert_allclose(dances.seconds, 3.0, atol=0.05)
    assert abs(len(dances[1].audio) - 4 * 22_050) < 0.1 * 22_050


def test_a_film_in_place_of_music_is_refused_with_the_command_to_run(tmp_path):
    write_aist(tmp_path)
    name = AIST_TRAIN[1].replace("cAll", "c01")
    (tmp_path / "music" / "mHO3.wav").rename(tmp_path / "music" / f"{name}.mp4")
    command = (
        f'for film in {tmp_path}/music/*.mp4; do ffmpeg -i "$film" -vn "${{film%.*}}.wav"; done'
    )
    with pytest.raises(ValueError, match=rf"{name}\.mp4 is a film, .*{re.escape(command)}"):
        load_aist(tmp_path, "train")


def test_names_tell_genre_song_and_tempo():
    for code in GENRES:
        for song in range(6):
            genre, name, tempo = read_name(f"g{code}_sFM_cAll_d01_m{code}{song}_ch02")
            assert (list(GENRES)[genre], name) == (code, f"m{code}{song}")
            assert tempo == (110 + 5 * song if code == "HO" else 80 + 10 * song)
    for bad in ("", "gXX_sBM_cAll_d04_mBR0_ch01", "gBR_sBM_cAll_d04_mBR9_ch01", "gBR_ch01"):
        with pytest.raises(ValueError, match=r"list\.txt: .* is not a name of AIST"):
            read_name(bad, "list.txt")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'no split "dev" of AIST\+\+, only train, val, test'):
        load_aist(tmp_path, "dev")
    with pytest.raises(ValueError, match=r"neither the folder splits of AIST\+\+ nor motion_s2"):
        load_aist(tmp_path, "train")
    (tmp_path / "splits").mkdir()
    with pytest.raises(ValueError, match=r"crossmodal_train\.txt cannot be read"):
        load_aist(tmp_path, "train")
    write_aist(tmp_path)
    song = tmp_path / "music" / "mBR0.wav"
    song.rename(tmp_path / "elsewhere.wav")
    with pytest.raises(ValueError, match=r"lacks 1 of its 2 sound files, .*mBR0\.wav first"):
        load_aist(tmp_path, "train")
    (tmp_path / "music").rename(tmp_path / "songs")
    with pytest.raises(ValueError, match="has no folder music, wav, wavs or all_musics"):
        load_aist(tmp_path, "train")
    assert len(load_aist(tmp_path, "test", music=tmp_path / "songs")) == 1
    (tmp_path / "motions" / f"{AIST_TRAIN[1]}.pkl").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of its 2 motion files, .*mHO3_ch04\.pkl"):
        load_aist(tmp_path, "train", music=tmp_path / "songs")
    with pytest.raises(ValueError, match=r"lacks 1 of its 1 video files"):
        load_aist(tmp_path, "test", music=tmp_path / "songs", video=tmp_path)


def test_a_name_listed_twice_and_damaged_files_are_named(tmp_path):
    write_aist(tmp_path)
    path = tmp_path / "motions" / f"{AIST_TRAIN[0]}.pkl"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"mBR0_ch01\.pkl cannot be read as a pickle"):
        _ = load_aist(tmp_path, "train").seconds
    listing = tmp_path / "splits" / "crossmodal_test.txt"
    listing.write_text(listing.read_text() * 2)
    with pytest.raises(ValueError, match=r"crossmodal_test\.txt lists gPO.* twice"):
        load_aist(tmp_path, "test")


def test_fingerprints_follow_files_and_lists(tmp_path):
    write_aist(tmp_path)
    prints = {load_aist(tmp_path, split).fingerprint for split in ("train", "test", "val")}
    assert len(prints) == 2  # the validation set in miniature is the test set
    before = load_aist(tmp_path, "train").fingerprint
    write_sound(tmp_path / "music" / "mBR0.wav", seconds=5.0)
    assert load_aist(tmp_path, "train").fingerprint != before


def test_motion_shorter_than_a_window_has_none(tmp_path):
    write_aist(tmp_path)
    short = {"smpl_poses": np.zeros((60, 72)), "smpl_trans": np.zeros((60, 3)), "smpl_scaling": 1.0}
    write_pickle(tmp_path / "motions" / f"{AIST_TRAIN[0]}.pkl", short)
    segments = Segments(load_aist(tmp_path, "train"), seconds=2.0, stride=1.0, samples=344 * 128)
    assert (len(segments), segments.num_skipped) == (2, 1)
