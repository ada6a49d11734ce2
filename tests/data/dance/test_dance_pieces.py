"""The authors' pieces of AIST++ and TikTok: lists of another machine, genres, short pieces."""

import numpy as np
import pytest

from cdcd_jax.data.dance.aist import load_aist
from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.dance.tiktok import load_tiktok
from tests.support.dance_layouts import (
    PIECES_TEST,
    PIECES_TRAIN,
    TIKTOK_TRAIN,
    write_aist_pieces,
    write_lists,
    write_sound,
    write_tiktok,
)


def cut(dances, **options):
    options = {"seconds": 2.0, "stride": 1.0, "samples": 344 * 128, "video_steps": 1, **options}
    return Segments(dances, filled=True, **options)


@pytest.mark.parametrize("lists", [".", "dataset", "data"])
def test_motion_video_genre_and_tempo_are_read(tmp_path, lists):
    write_aist_pieces(tmp_path, lists=lists)
    dances = load_aist(tmp_path, "test")
    assert isinstance(dances, Dances)
    assert (tuple(dances.names), dances.piece_seconds) == (PIECES_TEST, 2.0)
    assert dances.groups.tolist() == [1, 4]  # pop and LA hip-hop
    first, second = dances[0], dances[1]
    assert (first.motion.shape, first.video.shape) == ((120, 219), (1, 2048))
    assert (first.genre, first.tempo, second.tempo) == (1, 90.0, 120.0)
    segments = cut(load_aist(tmp_path, "train"))
    assert (len(segments), segments.remarks) == (4, [])
    assert [segments[number].name for number in range(4)] == [f"{n}@0.0s" for n in PIECES_TRAIN]
    np.testing.assert_array_equal(segments[3].video, load_aist(tmp_path, "train")[3].video)


def test_the_pieces_are_found_without_lists_and_one_folder_deeper(tmp_path):
    write_aist_pieces(tmp_path / "aistplus", lists=None)
    dances = load_aist(tmp_path, "train")
    assert dances.names == sorted(PIECES_TRAIN)  # but .DS_Store and ._files
    write_tiktok(tmp_path / "tiktok")
    assert tuple(load_tiktok(tmp_path, "train").names) == TIKTOK_TRAIN


def test_pieces_of_another_length_are_needed(tmp_path):
    write_aist_pieces(tmp_path, seconds=3)
    with pytest.raises(
        ValueError, match=r"seconds = 2, but .* has pieces of 3 s \(motion_s3\); set"
    ):
        load_aist(tmp_path, "train")
    assert len(load_aist(tmp_path, "train", seconds=3.0)) == 4


def test_video_may_be_missing_or_elsewhere(tmp_path):
    write_aist_pieces(tmp_path)
    (tmp_path / "video_s2").rename(tmp_path / "i3d")
    dances = load_aist(tmp_path, "train")
    assert dances.video_features is None
    assert "there are no features of videos (video_s2)" in cut(dances).remarks[0]
    assert load_aist(tmp_path, "train", video=tmp_path / "i3d").video_features == 2048
    with pytest.raises(ValueError, match=r"there is no folder .*none for the video"):
        load_aist(tmp_path, "train", video=tmp_path / "none")


def test_short_pieces_are_filled_as_the_published_code_does(tmp_path):
    """Of a dance of 8 s, the second piece of 6 s can last only 2 s."""
    write_aist_pieces(tmp_path, seconds=6)
    name = PIECES_TEST[1]
    write_sound(tmp_path / f"audio_s6/test/{name}.wav", seconds=2.0)
    moves = np.arange(120 * 219, dtype=np.float32).reshape(120, 219)
    np.save(tmp_path / f"motion_s6/test/{name}.npy", moves)
    segments = cut(load_aist(tmp_path, "test", seconds=6.0), seconds=6.0, samples=1033 * 128)
    assert len(segments) == 2
    assert segments.remarks == [
        "AIST++ in pieces of 6 s, test: 1 of 2 pieces are shorter than 6 s; silence fills them, as "
        "in the published code"
    ]
    piece = segments[1]
    assert piece.audio[:44_100].any()
    assert not piece.audio[44_100:].any()
    np.testing.assert_array_equal(piece.motion[119:], np.repeat(moves[-1:], 241, axis=0))
    for seconds in (6, 2):
        write_aist_pieces(tmp_path / "cut", seconds=seconds)
        write_sound(tmp_path / f"cut/audio_s{seconds}/test/{name}.wav", seconds=1.0)
        dances = load_aist(tmp_path / "cut", "test", seconds=float(seconds))
        samples = int(seconds * 22_050 / 128) * 128
        segments = cut(dances, seconds=float(seconds), samples=samples)
        with pytest.raises(ValueError, match=rf"_seg2@0.0s lacks {samples - 22_050} of its"):
            segments[1]


def test_lists_may_be_named_and_choose_pieces(tmp_path):
    write_aist_pieces(tmp_path)
    chosen = tmp_path / "chosen.txt"
    chosen.write_text(f"/home/somebody/audio_s2/train/{PIECES_TRAIN[2]}.wav\n")
    segments = cut(load_aist(tmp_path, "train"), listed=chosen)
    assert [segments.segment_name(0), len(segments)] == [f"{PIECES_TRAIN[2]}@0.0s", 1]


def test_what_does_not_fit_is_named(tmp_path):
    write_aist_pieces(tmp_path)
    lists = tmp_path / "dataset"
    rows = np.load(lists / "train_genre.npy")
    np.save(lists / "train_genre.npy", rows[::-1])
    with pytest.raises(
        ValueError, match=r"train_genre\.npy says of piece 0, gLO\S+, that it is house"
    ):
        load_aist(tmp_path, "train")
    np.save(lists / "train_genre.npy", rows[:3])
    with pytest.raises(
        ValueError, match=r"a row of 10 numbers for each of the 4 pieces .* \[3, 10\]"
    ):
        load_aist(tmp_path, "train")
    np.save(lists / "train_genre.npy", rows)
    audio = lists / "aist_audio_test_segment.txt"
    audio.write_text(audio.read_text().replace("seg1", "seg3"))
    with pytest.raises(ValueError, match=r"aist_motion.* and .*aist_audio.* list other pieces"):
        load_aist(tmp_path, "test")
    write_lists(lists, "aist", "test", [PIECES_TEST[0]] * 2, "{kind}")
    with pytest.raises(ValueError, match=r"aist_motion_test_segment\.txt lists gPO\S+ twice"):
        load_aist(tmp_path, "test")
    (tmp_path / "audio_s2" / "train" / f"{PIECES_TRAIN[0]}.wav").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of its 4 sound files, .*gLO\S+\.wav first"):
        load_aist(tmp_path, "train")
    with pytest.raises(ValueError, match="holds published pieces with music and SMPL features"):
        load_aist(tmp_path, "train", motion="keypoints")
    (tmp_path / "audio_s2").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"there is no folder .*audio_s2 for the audio"):
        load_aist(tmp_path, "train")
