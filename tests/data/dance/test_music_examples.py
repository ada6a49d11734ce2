"""Music becomes shards with its dances beside it, and comes back as examples and negatives."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cdcd_jax.data.dance.examples import MusicExamples, ShuffledWaveforms
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.dance.views import PieceError, WaveformPlan, load_piece
from cdcd_jax.data.pipeline import make_train_dataset
from cdcd_jax.data.shards.manifest import Plan
from cdcd_jax.data.shards.prepare import prepare_views
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.data.toy.groove import load_groove

HOP, LENGTH = 512, 16
WAVEFORMS = WaveformPlan(
    seconds=HOP * LENGTH / 22050, stride=1.0, views=2, shuffles=3, num_chunks=4
)


def encode(audio):
    """Stand in for a codec: the loudness of each hop in 50 steps, so that the order shows."""
    loudness = np.abs(audio.reshape(len(audio), LENGTH, HOP)).mean(-1)
    return np.minimum(loudness * 100, 49).astype(np.int32)


@pytest.fixture(scope="module")
def segments():
    dances = load_groove("train", num_dances=6, seconds=4.0)
    return Segments(dances, seconds=0.4, stride=1.0, samples=HOP * LENGTH)


def write(folder, segments, waveforms=WAVEFORMS, **changes):
    options = {"batch_size": 7, "progress": False, "num_threads": 1, **changes}
    plan = Plan(
        fingerprint="codec", source=segments.name, source_fingerprint=segments.fingerprint,
        num_images=len(segments), class_names=segments.class_names, vocab_size=50,
        grid=(1, LENGTH), views=waveforms.views + waveforms.shuffles, seed=5, shard_size=10,
        waveforms=waveforms._asdict(),
    )  # fmt: skip
    return prepare_views(
        partial(load_piece, segments, waveforms, 5), encode, folder, plan, **options
    )


@pytest.fixture(scope="module")
def examples(segments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    assert write(folder, segments).finished
    return MusicExamples(TokenShards(folder, fingerprint="codec"))


# np.repeat by 2^62 crashes the process.
@pytest.mark.parametrize(
    "change", [{"views": "2"}, {"views": 3}, {"views": 2**62}, {"shuffles": 3.0}, {"more": 1}]
)
def test_a_damaged_plan_of_waveforms_is_refused(change):
    path = Path("set") / "manifest.json"
    right = WAVEFORMS._asdict()
    assert WaveformPlan.from_json(right, 5, path) == WAVEFORMS
    with pytest.raises(ValueError, match=r"manifest\.json is damaged; delete it and run"):
        WaveformPlan.from_json(right | change, 5, path)


def test_an_example_is_its_piece_with_its_dance(examples, segments):
    assert len(examples) == 2 * len(segments) == 48
    assert examples.cond["motion"].shape == (48, 24, 51)
    for index in (0, 1, 30, 47):
        piece = segments[index // 2]
        cond = examples.draw_cond(np.array([index]), np.random.default_rng(0))
        np.testing.assert_array_equal(cond["motion"][0], piece.motion)
        assert cond["genre"][0] == piece.genre == examples.group[index]
    loud = np.stack([piece.audio / np.abs(piece.audio).max() * 0.95 for piece in segments])
    expected = encode(loud.astype(np.float32))
    np.testing.assert_allclose(examples.take(np.arange(0, 48, 2)), expected, atol=1)
    quiet = examples.take(np.arange(1, 48, 2))
    assert (quiet <= expected + 1).all()
    assert (quiet.sum(1) < expected.sum(1)).mean() > 0.9


def test_negatives_made_of_waveforms_hold_the_same_chunks_in_another_order(examples):
    drawn = ShuffledWaveforms(examples).draw(
        np.random.default_rng(0), np.array([4, 5, 47]), num_negatives=5
    )
    assert all(len(set(row)) == 3 for row in drawn[:, :3])  # all three, then the same again
    np.testing.assert_array_equal(drawn[:, 3:], drawn[:, :2])
    tokens, shuffled = examples.take(np.array([4, 4, 46])), examples.take(drawn)
    for row, negatives in zip(tokens, shuffled, strict=True):
        chunks = sorted(map(tuple, row.reshape(4, -1)))
        for negative in negatives:
            assert sorted(map(tuple, negative.reshape(4, -1))) == chunks
            assert not np.array_equal(negative, row)


def test_the_stream_gives_both_kinds_of_negatives(examples):
    batch = make_train_dataset(
        examples, batch_size=8, seed=0, num_negatives=2, own=ShuffledWaveforms(examples), num_own=3
    )[3]
    assert batch["negatives"].shape == (8, 2, LENGTH)
    assert batch["intra_negatives"].shape == (8, 3, LENGTH)
    assert batch["cond"]["motion"].shape == (8, 24, 51)
    sums = np.sort(batch["intra_negatives"], -1) - np.sort(batch["tokens"], -1)[:, None]
    loud = np.abs(sums).max((1, 2)) == 0  # a quieter view has the loud one's disorder
    assert loud.any()


def test_interrupted_preparation_goes_on_and_ends_the_same(segments, examples, tmp_path):
    calls = []

    def fail(audio):
        calls.append(len(audio))
        if len(calls) > 9:
            raise KeyboardInterrupt
        return encode(audio)

    plan = examples.shards.plan
    load = partial(load_piece, segments, WAVEFORMS, 5)
    options = {"batch_size": 7, "progress": False, "num_threads": 1}
    with pytest.raises(KeyboardInterrupt):
        prepare_views(load, fail, tmp_path, plan, **options)
    assert write(tmp_path, segments).finished
    for file in examples.shards.folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    motion = next(tmp_path.glob("*.motion.npy"))
    motion.write_bytes(motion.read_bytes()[:-1] + b"\x01")
    shards = TokenShards(tmp_path, fingerprint="codec")
    with pytest.raises(ValueError, match=f"{motion.name} is damaged"):
        shards.check()
    motion.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{motion.name} is truncated or damaged"):
        TokenShards(tmp_path, fingerprint="codec")


def test_a_piece_that_is_silent_or_not_finite_is_named_or_skipped(segments, tmp_path):
    class Broken:
        """The same pieces, of which one is silent and one has lost a joint."""

        groups, segment_name = segments.groups, staticmethod(segments.segment_name)

        def __getitem__(self, index):
            if index == 4:
                raise ValueError("the motion holds a value that is not finite in frame 7")
            piece = segments[index]
            return piece._replace(audio=np.zeros_like(piece.audio)) if index == 9 else piece

        def __len__(self):
            return len(segments)

    broken = Broken()
    for name in ("name", "fingerprint", "class_names"):
        setattr(broken, name, getattr(segments, name))
    with pytest.raises(PieceError, match=r"train_0001_rock@0.0s: .*frame 7; or leave such pieces"):
        write(tmp_path / "stop", broken)
    assert write(tmp_path / "skip", broken, on_bad="skip").finished
    kept = MusicExamples(TokenShards(tmp_path / "skip", fingerprint="codec"))
    assert len(kept) == 2 * (len(segments) - 2)
    np.testing.assert_array_equal(kept.cond["motion"][np.array([2 * 4])][0], segments[5].motion)


def test_what_was_not_prepared_is_named(examples, segments, tmp_path):
    with pytest.raises(ValueError, match="was prepared without video"):
        MusicExamples(examples.shards, ["motion", "video"])
    assert set(MusicExamples(examples.shards, ["genre"]).cond) == {"genre"}
    write(tmp_path, segments, WAVEFORMS._replace(views=1, shuffles=0))
    plain = MusicExamples(TokenShards(tmp_path, fingerprint="codec"))
    assert len(plain) == len(segments)
    with pytest.raises(ValueError, match=r'intra = "waveform" needs shuffled waveforms'):
        ShuffledWaveforms(plain)
    for wrong, message in (
        ({"views": 0}, "views = 0 must be at least 1"),
        ({"num_chunks": 1}, "num_chunks = 1 must be at least 2"),
        ({"quietest": 0.0}, r"quietest = 0.0 must be in \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            WAVEFORMS._replace(**wrong).check()
