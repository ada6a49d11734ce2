"""Recordings for a codec: folders of sound, and the stream of crops that it learns from."""

import numpy as np
import pytest

from cdcd_jax.data.dance.audio_stream import load_crops, make_audio_iterator
from cdcd_jax.data.dance.recordings import DanceMusic, SoundFolder
from cdcd_jax.data.toy.groove import load_groove
from tests.support.dance_layouts import write_sound


def test_a_folder_is_split_or_splits_itself(tmp_path):
    for number in range(12):
        write_sound(tmp_path / "any" / f"{number:02d}.wav", seconds=0.1 + number / 100)
    train, test = (SoundFolder(tmp_path / "any", split) for split in ("train", "test"))
    assert test.names == ["09.wav"]
    assert sorted([*train.names, *test.names]) == [f"{number:02d}.wav" for number in range(12)]
    assert test.seconds[0] == pytest.approx(0.19, abs=1e-4)
    assert len(test.audio(0)) == round(0.19 * 22050)
    for split in ("train", "test"):
        write_sound(tmp_path / "parted" / split / "one.flac", seconds=0.2, sample_rate=8000)
    for split in ("train", "test"):
        sound = SoundFolder(tmp_path / "parted", split)
        assert (sound.names, len(sound.audio(0))) == (["one.flac"], 4410)
    assert train.fingerprint != test.fingerprint


def test_what_systems_leave_behind_is_passed_over_and_films_are_refused(tmp_path):
    for name in ("a.wav", "b.WAV", ".hidden/c.wav"):
        write_sound(tmp_path / name, seconds=0.1)
    (tmp_path / "__MACOSX").mkdir()
    for name in (".DS_Store", "._a.wav", "__MACOSX/._a.wav", "__MACOSX/a.wav"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    names = [*SoundFolder(tmp_path, "train").names, *SoundFolder(tmp_path, "test").names]
    assert names == ["a.wav", "b.WAV"]
    film = tmp_path / "films" / "a.mp4"
    film.parent.mkdir()
    film.write_bytes(b"\0")
    with pytest.raises(ValueError, match=r"a\.mp4 is a film, .* `for film in .*films/\*\.mp4; do"):
        SoundFolder(film.parent, "train")


def test_what_is_no_folder_of_sound_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        SoundFolder(tmp_path / "none", "train")
    write_sound(tmp_path / "lonely.wav", seconds=0.1)
    with pytest.raises(ValueError, match="too little sound"):
        SoundFolder(tmp_path, "train")
    with pytest.raises(ValueError, match='not "valid"'):
        SoundFolder(tmp_path, "valid")


def test_crops_are_resumable_cover_everything_and_vary():
    music = DanceMusic(load_groove("train", num_dances=3, seconds=4.0))
    options = {"samples": 22050, "batch_size": 4, "seed": 1, "num_threads": 0}
    stream = make_audio_iterator(music, **options)
    batches = [next(stream)["audio"] for _ in range(6)]
    again = make_audio_iterator(music, **options)
    for _ in range(2):
        next(again)
    state = again.get_state()
    resumed = make_audio_iterator(music, **options | {"num_threads": 1})
    resumed.set_state(state)
    np.testing.assert_array_equal(next(resumed)["audio"], batches[2])
    loudest = np.abs(np.concatenate(batches)).max(1)
    assert loudest.max() <= 0.95 + 1e-6
    assert loudest.std() > 0.1
    # Three dances of four crops each: an epoch is three batches.
    assert len({crop.tobytes() for crop in np.concatenate(batches)}) == 24
    halves = [
        next(make_audio_iterator(music, **options, process_index=rank, num_processes=2))["audio"]
        for rank in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves), batches[0])


def test_a_recording_shorter_than_a_crop_ends_in_silence():
    music = DanceMusic(load_groove("test", num_dances=1, seconds=1.0))
    (crop,) = load_crops(music, np.array([0]), 30000)
    assert np.abs(crop[:22050]).max() == pytest.approx(0.95, abs=1e-6)
    assert not crop[22050:].any()


def test_numbers_out_of_range_are_named():
    music = DanceMusic(load_groove("test", num_dances=1, seconds=1.0))
    with pytest.raises(ValueError, match="batch_size = 3"):
        make_audio_iterator(music, samples=9, batch_size=3, seed=0, num_processes=2)
    with pytest.raises(ValueError, match="quietest = 0"):
        make_audio_iterator(music, samples=9, batch_size=3, seed=0, quietest=0.0)
