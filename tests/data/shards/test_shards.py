import json
import os
import threading

import numpy as np
import pytest

from cdcd_jax.data.batch import Examples, TokenExamples, check_batch
from cdcd_jax.data.images.caption_files import CaptionedImages
from cdcd_jax.data.images.decoding import crop_image, decode_image
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.data.pipeline import make_train_dataset
from cdcd_jax.data.shards.prepare import prepare
from cdcd_jax.data.shards.token_shards import TokenShards
from tests.support.numpy_encoder import encode, make_captioned_source, make_source, options

FINGERPRINT = "f" * 64
SHARD = "tokens-00001-of-00004.arrayrecord"


@pytest.fixture
def folder(tmp_path):
    prepare(make_source(50), encode, tmp_path / "set", **options())
    return tmp_path / "set"


def all_tokens():
    source = make_source(50)
    images = [crop_image(decode_image(source[k].data), size=8) for k in range(50)]
    return encode(np.stack(images))


def flip_bit(path, pattern):
    """Flip a bit in the middle of the place where a pattern is in a file."""
    data = bytearray(path.read_bytes())
    data[data.index(pattern) + len(pattern) // 2] ^= 4
    path.write_bytes(data)


def test_examples_are_read_by_index_in_any_shape_and_order(folder):
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    assert isinstance(shards, Examples)
    assert (len(shards), shards.length, shards.vocab_size, shards.grid) == (50, 16, 50, (4, 4))
    assert shards.class_names == tuple(f"class {k}" for k in range(5))
    indices = np.random.default_rng(0).integers(0, 50, (7, 3))
    taken = shards.take(indices)
    assert taken.dtype == np.int32
    assert np.array_equal(taken, all_tokens()[indices])
    assert shards.take(np.zeros((0, 2), int)).shape == (0, 2, 16)
    assert shards.name_of(37) == "37"
    with pytest.raises(IndexError, match=r"examples are 0\.\.49, got -1\.\.3"):
        shards.take(np.array([-1, 3]))


def test_batches_equal_those_from_memory(folder):
    labels = np.arange(50, dtype=np.int32) % 5
    memory = TokenExamples(tokens=all_tokens(), cond=labels, group=labels)
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    arguments = {"batch_size": 8, "seed": 3, "num_negatives": 4}
    for step in (0, 9):
        batch = make_train_dataset(shards, **arguments)[step]
        check_batch(batch, vocab_size=50, length=16, num_negatives=4)
        expected = make_train_dataset(memory, **arguments)[step]
        for key, array in expected.items():
            np.testing.assert_array_equal(batch[key], array)


def test_captions_come_back_with_the_images_that_are_kept(tmp_path):
    source = make_captioned_source(50)
    bad = {0, *range(16, 32)}  # one, and a whole shard
    data = [b"" if k in bad else source[k].data for k in range(50)]
    # Without classes a label may be any number.
    images = ImageBytes("noise", data, [100 + k for k in range(50)], [])
    source = CaptionedImages(images, source.captions)
    prepare(source, encode, tmp_path, **options(views=2, crop="random"), on_bad="skip")
    shards = TokenShards(tmp_path, fingerprint=FINGERPRINT)
    kept = [k for k in range(50) if k not in bad]
    assert shards.captions == tuple(source.captions[k] for k in kept)
    assert shards.source_index.tolist() == kept
    assert shards.image_names == [str(k) for k in kept]
    assert shards.image_of.tolist() == [k // 2 for k in range(2 * len(kept))]
    assert shards.cond.tolist() == [100 + k for k in kept for _ in range(2)]
    assert shards.class_names == ()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["num_records"], manifest["class_counts"]) == (2 * len(kept), [])


def test_other_captions_are_another_source(tmp_path):
    prepare(make_captioned_source(5), encode, tmp_path, **options())
    captions = [["other"], *make_captioned_source(5).captions[1:]]
    other = CaptionedImages(make_source(5), captions)
    with pytest.raises(ValueError, match="was begun with source_fingerprint"):
        prepare(other, encode, tmp_path, **options())


def test_a_set_without_captions_is_written_as_before_there_were_any(folder):
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    assert shards.captions == ()
    with np.load(folder / "index.npz") as index:
        assert set(index) == {"labels", "indices", "names", "name_offsets"}
    beside = json.loads((folder / SHARD).with_suffix(".json").read_text())
    assert "captions" not in beside


def test_threads_may_read_at_the_same_time(folder):
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    expected = all_tokens()
    same = []

    def read(seed):
        for indices in np.random.default_rng(seed).integers(0, 50, (20, 30)):
            same.append(np.array_equal(shards.take(indices), expected[indices]))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 80


def test_a_single_class_trains_but_has_no_inter_negatives(tmp_path):
    prepare(make_source(20, num_classes=1), encode, tmp_path, **options())
    shards = TokenShards(tmp_path, fingerprint=FINGERPRINT)
    assert len(make_train_dataset(shards, batch_size=4, seed=0)[0]["tokens"]) == 4
    with pytest.raises(ValueError, match="inter negatives need at least two classes"):
        make_train_dataset(shards, batch_size=4, seed=0, num_negatives=1)


def test_a_damaged_record_is_named_and_the_others_are_read(folder):
    tokens = all_tokens()
    flip_bit(folder / SHARD, tokens[20].astype("<u2").tobytes())  # the shard's fifth record
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    good = np.array([k for k in range(50) if k != 20])
    assert np.array_equal(shards.take(good), tokens[good])
    message = rf"record 4 of .*{SHARD} is damaged.*; delete that file and run .*--mode=prepare"
    with pytest.raises(ValueError, match=message):
        shards.take(np.arange(50))
    with pytest.raises(ValueError, match=rf"{SHARD} is damaged; delete it"):
        shards.verify()


def test_a_record_whose_own_checksum_fails_is_named(folder, monkeypatch):
    """The container checks what the disk gave; the record what the container gave."""
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    records = shards._records
    wrong = {
        key: record[:-1] + b"\xff" if key == 40 else record for key, record in enumerate(records)
    }

    class Wrong:
        def __getitem__(self, key):
            return wrong[key]

        def __getitems__(self, keys):
            return [wrong[key] for key in keys]

    monkeypatch.setattr(shards, "_records", Wrong())
    with pytest.raises(ValueError, match=r"record 8 of .*tokens-00002-of-00004\S* is damaged;"):
        shards.take(np.array([1, 40]))


def test_verify_finds_damage_between_the_records(folder):
    shards = TokenShards(folder, fingerprint=FINGERPRINT)
    shards.verify()
    data = bytearray((folder / SHARD).read_bytes())
    data[-100] ^= 1
    (folder / SHARD).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{SHARD} is damaged; delete it and run the same"):
        shards.verify()


def missing(folder):
    (folder / SHARD).unlink()


def truncated(folder):
    os.truncate(folder / SHARD, 5000)


def unfinished(folder):
    missing(folder)
    (folder / SHARD).with_suffix(".json").unlink()
    (folder / "manifest.json").unlink()


def nothing(folder):
    for path in folder.iterdir():
        path.unlink()


def other_version(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))


def other_format(folder):
    (folder / "manifest.json").write_text('{"name": "my web app"}')


def damaged_manifest(folder):
    os.truncate(folder / "manifest.json", 50)


def lacking_checksum(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["shards"][1]["sha256"]
    path.write_text(json.dumps(manifest))


def damaged_index(folder):
    os.truncate(folder / "index.npz", 50)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (missing, rf"{SHARD} is missing; run the same --mode=prepare command again"),
        (truncated, rf"{SHARD} is truncated or damaged: 5000 bytes instead of \d+; run the same"),
        (unfinished, r"the preparation in .* is not finished: 3 of 4 shards; run the same"),
        (nothing, "holds no token shards; make them with --mode=prepare"),
        (other_version, "shards of format version 2, and this program knows version 1; prepare"),
        (other_format, r"manifest\.json does not belong to token shards; give another folder"),
        (damaged_manifest, r"manifest\.json is damaged; delete it and run the same"),
        (lacking_checksum, r"manifest\.json is damaged; delete it and run the same"),
        (damaged_index, r"index\.npz is missing or damaged; run the same"),
    ],
)
def test_what_is_not_whole_is_refused_with_the_way_out(folder, trouble, message):
    trouble(folder)
    with pytest.raises(ValueError, match=message):
        TokenShards(folder, fingerprint=FINGERPRINT)


def test_another_codec_is_refused(folder):
    with pytest.raises(
        ValueError, match=r"made with another codec \(fingerprint f{12}, not e{12}\)"
    ):
        TokenShards(folder, fingerprint="e" * 64)
