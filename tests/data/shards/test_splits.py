"""Shards that are not what the run takes them for are refused before it trains."""

import json
import shutil

import numpy as np
import pytest

from cdcd_jax.data.shards import token_shards as module
from cdcd_jax.data.shards.manifest import Bond
from cdcd_jax.data.shards.prepare import plan_images, prepare
from cdcd_jax.data.shards.splits import check_splits
from cdcd_jax.data.shards.token_shards import TokenShards
from tests.support.numpy_encoder import encode, make_source, options

FINGERPRINT = "f" * 64
SHARDS = [f"tokens-0000{shard}-of-00004.arrayrecord" for shard in range(4)]
PLANNED = ("fingerprint", "vocab_size", "grid", "image_size", "views", "crop", "flip", "seed",
           "shard_size")  # fmt: skip


def write(folder, *, counts=(50, 20), bound=True, **changes):
    """Prepare two splits as the command line does."""
    given = options() | {"views": 1, "crop": "center", "flip": False, "seed": 0} | changes
    sources = dict(zip(("train", "test"), map(make_source, counts), strict=True))
    plans = {
        split: plan_images(source, **{name: given[name] for name in PLANNED})
        for split, source in sources.items()
    }
    for split, source in sources.items():
        other = plans["test" if split == "train" else "train"]
        bond = {"bond": Bond(split, other.digest)} if bound else {}
        prepare(source, encode, folder / split, **given, **bond)
    return folder


def read(folder, train="train", test="test"):
    return [TokenShards(folder / split, fingerprint=FINGERPRINT) for split in (train, test)]


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set")


@pytest.fixture
def shards(folder):
    return read(folder)[0]


def test_splits_that_were_prepared_together_pass(folder):
    assert check_splits(*read(folder)) == ""
    for shards in read(folder):
        shards.check()


@pytest.mark.parametrize(("train", "test"), [("test", "train"), ("train", "train")])
def test_swapped_folders_are_refused(folder, train, test):
    with pytest.raises(ValueError, match=r'holds the split "(train|test)", and it is read as'):
        check_splits(*read(folder, train, test))


def test_a_split_of_another_preparation_is_refused(folder, tmp_path):
    shutil.rmtree(folder / "test")
    shutil.copytree(write(tmp_path / "other", counts=(50, 21)) / "test", folder / "test")
    with pytest.raises(ValueError, match=r"train was not prepared together with .*test, which"):
        check_splits(*read(folder))


def test_preparing_one_split_anew_binds_both_again(folder):
    shutil.rmtree(folder / "test")
    write(folder, counts=(50, 21))
    assert check_splits(*read(folder)) == ""


@pytest.mark.parametrize("changes", [{"vocab_size": 60}, {"image_size": 12}])
def test_a_split_with_other_settings_is_refused(tmp_path, changes):
    """Of old manifests, too, which do not say which split they are."""
    write(tmp_path / "set", bound=False)
    given = options() | changes
    shutil.rmtree(tmp_path / "set" / "test")
    code = (lambda images: encode(images[:, :8, :8])) if "image_size" in changes else encode
    prepare(make_source(20), code, tmp_path / "set" / "test", **given)
    (name,) = changes
    with pytest.raises(ValueError, match=rf"was prepared with {name} = {changes[name]}, and"):
        check_splits(*read(tmp_path / "set"))


def test_manifests_that_do_not_name_their_split_are_read_with_a_remark(tmp_path):
    folder = write(tmp_path / "set", bound=False)
    assert "split" not in json.loads((folder / "train" / "manifest.json").read_text())
    assert "do not say which split is which; run the same" in check_splits(*read(folder))
    write(folder)  # which keeps the shards
    assert check_splits(*read(folder)) == ""


@pytest.mark.parametrize("whole", [10**9, 0])
@pytest.mark.parametrize(("source", "target"), [(SHARDS[0], SHARDS[1]), (SHARDS[2], SHARDS[0])])
def test_a_shard_in_place_of_another_is_named(shards, monkeypatch, source, target, whole):
    monkeypatch.setattr(module, "WHOLE", whole)
    shutil.copy(shards.folder / source, shards.folder / target)
    message = "is damaged" if whole else "is of another set; delete that file and run the same"
    with pytest.raises(ValueError, match=rf"{target} {message}"):
        read(shards.folder.parent)[0].check()


def test_a_record_of_another_set_is_named_when_it_is_read(shards, tmp_path):
    other = write(tmp_path / "other", counts=(64, 20)) / "train"
    shutil.copy(other / SHARDS[0], shards.folder / SHARDS[3])
    size = (shards.folder / SHARDS[3]).stat().st_size
    manifest = json.loads((shards.folder / "manifest.json").read_text())
    manifest["shards"][3]["bytes"] = size
    (shards.folder / "manifest.json").write_text(json.dumps(manifest))
    opened = read(shards.folder.parent)[0]
    assert opened.take(np.arange(48)).shape == (48, 16)
    with pytest.raises(ValueError, match=rf"record 1 of .*{SHARDS[3]} is of another set"):
        opened.take(np.array([3, 49]))


def test_changed_bytes_of_a_shard_are_found_before_training(shards):
    path = shards.folder / SHARDS[1]
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{SHARDS[1]} is damaged; delete it and run"):
        shards.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["shards"].pop(),
        lambda manifest: manifest["shards"].reverse(),
        lambda manifest: manifest["shards"][0].pop("bytes"),
        lambda manifest: manifest["shards"][0].update(count=3),
        lambda manifest: manifest.pop("index"),
        lambda manifest: manifest.update(shards=5),
        lambda manifest: manifest.update(shards=[7]),
        lambda manifest: manifest["plan"].update(grid=4),
    ],
)
def test_a_manifest_that_does_not_fit_its_files_is_damaged(folder, change):
    path = folder / "train" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged; delete it and run the same"):
        read(folder)
