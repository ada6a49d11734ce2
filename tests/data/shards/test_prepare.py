import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cdcd_jax.data.images.decoding import ImageError, crop_image, decode_image, image_rng
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.data.shards.manifest import sweep_up, writing
from cdcd_jax.data.shards.prepare import prepare
from cdcd_jax.data.shards.token_shards import TokenShards
from tests.support.numpy_encoder import encode, make_source, options, prepare_slowly

ROOT = Path(__file__).parents[3]


def digests(folder):
    """Return the checksum of every file of a folder, hidden ones included."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def prepare_noise(folder, count=50, **changes):
    return prepare(make_source(count), encode, folder, **options(**changes))


def damage_image(source, *indices):
    data = [source[k].data[:60] if k in indices else source[k].data for k in range(len(source))]
    return ImageBytes("noise", data, [source[k].label for k in range(len(source))], "abcde")


def test_every_view_of_every_image_becomes_its_record(tmp_path):
    progress = prepare_noise(tmp_path, views=3, crop="dalle", flip=True, seed=7)
    assert progress.finished
    assert progress.num_shards == 4
    shards = TokenShards(tmp_path, fingerprint="f" * 64)
    source = make_source(50)
    expected = [
        crop_image(
            decode_image(source[k].data),
            size=8,
            crop="dalle",
            rng=image_rng(7, k, view),
            flip=True,
        )
        for k in range(50)
        for view in range(3)
    ]
    assert np.array_equal(shards.take(np.arange(150)), encode(np.stack(expected)))
    assert shards.cond.tolist() == [k % 5 for k in range(50) for _ in range(3)]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["class_counts"] == [30] * 5


@pytest.mark.parametrize("num_processes", [1, 2])
def test_killed_at_random_and_restarted_it_ends_up_the_same(tmp_path, num_processes):
    """Every file equals that of an uninterrupted run: no record is lost, doubled or altered."""
    prepare_slowly(tmp_path / "whole")
    command = [
        sys.executable,
        ROOT / "tests" / "support" / "numpy_encoder.py",
        tmp_path / "killed",
        "1",
    ]
    command.append(str(num_processes))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    kills = json.loads(done.stdout)
    complete, leftovers = zip(*kills, strict=True)
    assert len(kills) >= 4
    assert max(complete) > 0  # some shards were kept ...
    assert max(leftovers) > 0  # ... and some were cut off in the middle
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_any_number_of_hosts_writes_the_same_files(tmp_path):
    prepare_noise(tmp_path / "one")
    for index, finished in ((2, False), (0, False), (1, True)):
        progress = prepare_noise(tmp_path / "three", process_index=index, num_processes=3)
        assert progress.finished == finished
    assert digests(tmp_path / "three") == digests(tmp_path / "one")


def test_a_host_whose_half_written_file_was_swept_up_keeps_the_complete_one(tmp_path):
    """Two hosts may publish at once: the first to finish removes what looks left behind."""
    path = tmp_path / "index.npz"

    def write_and_lose():
        with writing(path) as temporary:
            temporary.write_text("same")
            sweep_up(tmp_path)

    with pytest.raises(ValueError, match=r"index\.npz cannot be written: No such file"):
        write_and_lose()
    path.write_text("same")
    write_and_lose()
    assert path.read_text() == "same"


def test_what_is_complete_is_not_encoded_again(tmp_path):
    def refuse(images):
        raise AssertionError("encoded again")

    prepare_noise(tmp_path)
    before = digests(tmp_path)
    assert prepare(make_source(50), refuse, tmp_path, **options()).finished
    # Another batch size or number of threads makes no difference to the bytes.
    assert prepare(make_source(50), refuse, tmp_path, **options(batch_size=9, num_threads=1))
    assert digests(tmp_path) == before


@pytest.mark.parametrize("trouble", ["missing", "truncated", "no json", "no index", "no manifest"])
def test_running_again_repairs_what_is_missing_or_truncated(tmp_path, trouble):
    prepare_noise(tmp_path)
    before = digests(tmp_path)
    shard = tmp_path / "tokens-00001-of-00004.arrayrecord"
    if trouble == "truncated":
        os.truncate(shard, 1000)
    else:
        path = {
            "missing": shard,
            "no json": shard.with_suffix(".json"),
            "no index": tmp_path / "index.npz",
            "no manifest": tmp_path / "manifest.json",
        }[trouble]
        path.unlink()
    assert prepare_noise(tmp_path).finished
    assert digests(tmp_path) == before


def test_a_bad_image_stops_the_preparation_by_name(tmp_path):
    source = damage_image(make_source(50), 20)
    with pytest.raises(ImageError, match=r"^20 cannot be decoded .* on_bad=\"skip\"$"):
        prepare(source, encode, tmp_path, **options())
    # The shard before it is kept; no half-written file stays.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "preparation.json",
        "tokens-00000-of-00004.arrayrecord",
        "tokens-00000-of-00004.json",
    ]


def test_skipped_images_are_listed_and_the_others_keep_their_names(tmp_path):
    bad = {3, *range(16, 32)}  # one, and a whole shard
    source = damage_image(make_source(50), *bad)
    assert prepare(source, encode, tmp_path, **options(), on_bad="skip").finished
    shards = TokenShards(tmp_path, fingerprint="f" * 64)
    kept = [k for k in range(50) if k not in bad]
    assert [int(shards.name_of(k)) for k in range(len(shards))] == kept
    assert shards.cond.tolist() == [k % 5 for k in kept]
    images = [crop_image(decode_image(source[k].data), size=8) for k in kept]
    assert np.array_equal(shards.take(np.arange(len(kept))), encode(np.stack(images)))
    skipped = json.loads((tmp_path / "manifest.json").read_text())["skipped"]
    assert [entry[0] for entry in skipped] == sorted(bad)
    assert "cannot be decoded" in skipped[0][2]


def test_nothing_but_bad_images_is_no_data_set(tmp_path):
    source = damage_image(make_source(5), *range(5))
    with pytest.raises(ValueError, match="none of the 5 images of noise can be decoded"):
        prepare(source, encode, tmp_path, **options(), on_bad="skip")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "e" * 64}, "was begun with fingerprint = 'ffff"),
        ({"image_size": 9}, "was begun with image_size = 8, and now it is 9; go back to that"),
        ({"shard_size": 17}, "was begun with shard_size = 16"),
        ({"crop": "dalle"}, "was begun with crop = 'center', and now it is 'dalle'"),
        ({"count": 49}, "was begun with source_fingerprint"),
    ],
)
def test_a_folder_is_not_filled_with_something_else(tmp_path, changes, message):
    prepare_noise(tmp_path)
    with pytest.raises(ValueError, match=message):
        prepare_noise(tmp_path, **changes)


def test_shards_of_version_0_1_are_refused(tmp_path):
    """Their crops are told by ``random_crop``; random ones were not the published ones."""
    prepare_noise(tmp_path)
    for name in ("preparation.json", "manifest.json"):
        content = json.loads((tmp_path / name).read_text())
        plan = content["plan"]
        del plan["crop"]
        plan["random_crop"] = True
        (tmp_path / name).write_text(json.dumps(content))
    message = r"is of shards of version 0\.1, whose crops were others .*prepare them anew"
    with pytest.raises(ValueError, match=message):
        prepare_noise(tmp_path)
    with pytest.raises(ValueError, match=message):
        TokenShards(tmp_path, fingerprint="f" * 64)


def test_shards_of_another_plan_are_made_anew_where_its_file_was_lost(tmp_path):
    prepare_noise(tmp_path / "one", seed=0, crop="random")
    prepare_noise(tmp_path / "two", seed=1, crop="random")
    (tmp_path / "one" / "preparation.json").unlink()
    prepare_noise(tmp_path / "one", seed=1, crop="random")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1, got 0"),
        ({"views": 0}, "views = 0 must be at least 1"),
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"seed": -1}, "seed = -1 must be at least 0"),
        ({"views": 2}, 'views = 2 needs a random crop, "random" or "dalle": "center" is the same'),
        ({"flip": True}, "flip = True needs a random crop"),
        ({"count": 0}, "noise holds nothing to encode"),
        ({"process_index": 1}, r"process_index must be in 0\.\.0, got 1"),
        ({"on_bad": "ignore"}, 'on_bad = "ignore" must be "stop" or "skip"'),
        ({"grid": (2, 2)}, r"made tokens of shape \(6, 16\) of 6 images, not \(6, 4\)"),
        ({"vocab_size": 40}, r"tokens must be in 0\.\.39"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare_noise(tmp_path, **changes)


def test_a_label_outside_the_classes_is_named(tmp_path):
    source = ImageBytes("noise", [make_source(1)[0].data], [5], "abcde")
    with pytest.raises(ValueError, match="0 has label 5, but noise has 5 classes"):
        prepare(source, encode, tmp_path, **options())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file cannot be made: File exists"):
        prepare_noise(tmp_path / "file")
    # The shard's place is taken by a folder, which no file can replace.
    (tmp_path / "out" / "tokens-00000-of-00004.arrayrecord").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"tokens-00000-of-00004\.arrayrecord cannot be written"):
        prepare_noise(tmp_path / "out")


def test_the_bar_counts_what_was_done_before(tmp_path, capsys):
    prepare_noise(tmp_path)
    (tmp_path / "tokens-00000-of-00004.arrayrecord").unlink()
    prepare_noise(tmp_path, progress=True)
    assert "50/50" in capsys.readouterr().err
