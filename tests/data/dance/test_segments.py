from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cdcd_jax.data.dance.aist import read_name
from cdcd_jax.data.dance.dances import Dance
from cdcd_jax.data.dance.segments import Segments

RATE = 22_050


class Numbered:
    """Dances whose sound and motion count samples and frames, so that every cut is recognised."""

    name, genre_names, fps, num_features, edges = "numbered", ("slow", "fast"), 60.0, 2, ()
    fingerprint, video_features = "numbered 1", 3

    def __init__(self, seconds, *, sample_offset=0, video=False):
        self.seconds = np.array(seconds, np.float64)
        self.names = [f"dance{number}" for number in range(len(seconds))]
        self.groups = np.arange(len(seconds), dtype=np.int32) % 2
        self.sample_offset, self.video, self.reads = sample_offset, video, []

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index, /):
        self.reads.append(index)
        samples = round(self.seconds[index] * RATE) + self.sample_offset
        frames = np.arange(round(self.seconds[index] * 60), dtype=np.float32)
        video = np.repeat(np.arange(40.0, dtype=np.float32)[:, None], 3, axis=1)
        return Dance(
            self.names[index],
            np.arange(samples, dtype=np.float32) + 1,
            np.stack([frames, -frames], axis=1),
            int(self.groups[index]),
            100.0 + index,
            video if self.video else None,
        )

    def joints(self, motion, /):
        return None


def make(lengths=(5.0, 2.0, 7.5), **kwargs):
    options = {"seconds": 2.0, "stride": 1.0, "samples": 344 * 128, **kwargs}
    dances = options.pop("dances", None) or Numbered(lengths)
    return Segments(dances, **options)


def test_windows_are_cut_where_their_names_say():
    segments = make()
    assert len(segments) == 4 + 1 + 6
    assert segments.num_skipped == 0
    assert segments.frames == 120
    names = [segment.name for segment in map(segments.__getitem__, range(11))]
    assert names[:6] == [*(f"dance0@{start}.0s" for start in range(4)), "dance1@0.0s", names[5]]
    assert names == [segments.segment_name(index) for index in range(11)]
    last = segments[10]
    assert (last.name, last.group, last.genre, last.tempo) == ("dance2@5.0s", 0, 0, 102.0)
    np.testing.assert_array_equal(last.audio, 5 * RATE + 1 + np.arange(344 * 128))
    np.testing.assert_array_equal(last.motion[:, 0], 300 + np.arange(120))
    assert last.video is None
    assert segments.groups.tolist() == [0] * 4 + [1] + [0] * 6
    with pytest.raises(IndexError):
        segments[11]


def test_a_window_of_six_seconds_has_the_published_tokens():
    segments = make(seconds=6.0, samples=1033 * 128, dances=Numbered([6.0]))
    assert len(segments) == 1
    assert segments[0].audio.shape == (132_224,)
    assert segments[0].motion.shape == (360, 2)


PUBLISHED = dict.fromkeys(("mPO1", "mLO2", "mMH3", "mBR0", "mLH4", "mKR2", "mWA0", "mJS3"), 2)
"""Test pieces of six seconds of each dance in CDCD's ``aist_audio_test_segment_s6.txt``, by song;
the others have one. There are two dances of each song, 36 pieces in all, and 86 of two seconds."""


def test_the_published_test_pieces_of_aist():
    songs = [*PUBLISHED, "mHO5", "mJB5"] * 2
    tempi = [read_name(f"g{song[1:3]}_sBM_cAll_d01_{song}_ch02")[2] for song in songs]
    # Basic dances last 16 beats, and a file of motion may lack a frame.
    for lost in (0.0, 1 / 60):
        dances = Numbered([16 * 60 / tempo - lost for tempo in tempi])
        segments = make(dances=dances, seconds=6.0, stride=6.0, samples=1033 * 128, rest=1.9)
        counts = np.bincount(segments.dance_numbers)
        assert counts.tolist() == [PUBLISHED.get(song, 1) for song in songs]
        assert len(segments) == 36
        # The last one ends with its dance.
        left = dances.seconds[segments.dance_numbers] - segments.starts - 6.0
        last = np.flatnonzero(segments.starts)
        assert (left >= 0).all()
        assert (left[last] < 0.02).all()
        assert all(segments[number].motion.shape == (360, 2) for number in last.tolist())
    assert len(make(dances=Numbered([960 / tempo for tempo in tempi]), stride=2.0)) == 86
    with pytest.raises(ValueError, match="rest = 0"):
        make(rest=0.0)


def test_short_dances_are_counted_and_none_is_an_error():
    segments = make(dances=Numbered([1.0, 3.0, 1.5]))
    assert (len(segments), segments.num_skipped) == (2, 2)
    assert segments.remarks == ["numbered: 2 dances are shorter than 2 s and are left out"]
    with pytest.raises(ValueError, match=r"numbered .* window of 2\.0 s: the longest of 2, dance1"):
        make(dances=Numbered([1.0, 1.9]))
    with pytest.raises(ValueError, match="must be positive"):
        make(stride=0.0)


def test_a_few_missing_samples_become_silence_and_more_are_an_error():
    dances = Numbered([1.998], sample_offset=0)
    segments = make(dances=dances, samples=2 * RATE)
    audio = segments[0].audio
    missing = 2 * RATE - round(1.998 * RATE)
    assert 0 < missing < 128
    assert (audio[-missing:] == 0).all()
    assert (audio[:-missing] > 0).all()
    cut = make(dances=Numbered([5.0], sample_offset=-3 * RATE))
    assert len(cut[0].audio) == 344 * 128
    with pytest.raises(ValueError, match=r"dance0@3\.0s lacks \d+ of its 44032 samples"):
        cut[3]


def test_motion_that_is_no_number_is_named_by_its_frame():
    class Broken(Numbered):
        def __getitem__(self, index, /):
            dance = super().__getitem__(index)
            dance.motion[130, 1] = np.nan
            return dance

    segments = make(dances=Broken([5.0]))
    with pytest.raises(ValueError, match=r"motion of dance0 .* frame 130"):
        segments[1]
    assert np.isfinite(segments[0].motion).all()


def test_video_steps_are_those_of_the_window():
    segments = make(dances=Numbered([10.0], video=True), video_steps=8)
    # 40 steps over 10 s: four a second.
    assert segments[3].video[:, 0].tolist() == [12, 13, 14, 15, 16, 17, 18, 19]
    few = make(dances=Numbered([10.0], video=True), video_steps=2)
    assert few[0].video[:, 0].tolist() == [2, 6]


def test_a_list_chooses_windows_in_its_order(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# wanted\ndance2 0.25\n\ndance1  # all of it\ndance0 3\n")
    segments = make(listed=path)
    names = [segments.segment_name(index) for index in range(len(segments))]
    assert names == ["dance2@0.25s", "dance1@0.0s", "dance0@3.0s"]
    np.testing.assert_array_equal(segments[0].motion[:2, 0], [15, 16])
    assert segments.fingerprint != make().fingerprint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dance0\nnobody 1.0\n", r"line 2: numbered has no dance nobody"),
        ("dance1 0.5\n", r"line 1: .* from 0\.5 s is not within the 2\.00 s of dance1"),
        ("dance1 -1\n", r"line 1: .* is not within"),
        ("dance1 nan\n", r"line 1: .* is not within"),
        ("dance1 soon\n", r"line 1: this must be a name and one number"),
        ("dance1 1 2\n", r"line 1: this must be a name and one number"),
        ("# nothing\n", r"lists no window"),
    ],
)
def test_bad_lists_are_named(tmp_path, text, reason):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"list\.txt.*{reason}"):
        make(listed=path)


def test_a_dance_is_read_once_for_its_windows_and_threads_agree():
    dances = Numbered([30.0, 30.0])
    segments = make(dances=dances)
    one_by_one = [segments[index] for index in range(len(segments))]
    assert dances.reads == [0, 1]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(make(dances=dances).__getitem__, range(len(segments))))
    for one, other in zip(one_by_one, together, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.audio, other.audio)


def test_fingerprints_tell_listings_apart():
    prints = [make().fingerprint, make(stride=0.5).fingerprint, make(samples=100).fingerprint]
    assert len({*prints, make((5.0, 2.0)).fingerprint}) == 4
    assert make().fingerprint == prints[0]
