"""The smoke variants of experiments on published data: the same experiments, on a miniature."""

import importlib
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.tasks import miniature
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.miniature import SETS, provide_synthetic
from cdcd_jax.tasks.places import find_places

ROOT = Path(__file__).parent.parent
KINDS = {
    "aist": "aist",
    "tiktok": "tiktok",
    "coco": "coco",
    "cub200": "cub",
    "imagenet": "imagenet",
}
"""What names of configurations begin with -> the set."""

SETTINGS = ("vanilla", "sample_inter", "step_intra")
CHOICES = ("data.name", "data.intra", "data.train_split", "data.test_split", "codec.name",
           "codec.quantizer", "codec.unused", "codec.multipliers", "codec.downs", "codec.level",
           "condition.kind", "condition.encoder", "condition.motion", "condition.video",
           "condition.genre", "condition.null", "condition.dropout", "schedule.name",
           "prepare.crop", "prepare.flip", "loss.mechanism", "loss.negatives", "loss.chains",
           "loss.contrast_weight", "loss.aux_weight", "denoiser.mlp", "optimizer.decay",
           "optimizer.lr", "optimizer.plateau_patience", "train.importance_sampling",
           "eval.truncations", "sample.truncation", "sample.guidance")  # fmt: skip
"""Keys that make an experiment what it is: whatever is not a size."""


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """A folder for the files of each set, which all its settings share."""
    return {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}


def load(name, variant="smoke"):
    return importlib.import_module(f"configs.{name}").get_config(variant)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_smoke_run_has_the_choices_of_its_experiment(kind, setting):
    small, full = (load(f"{kind}_{setting}", variant).to_dict() for variant in ("smoke", ""))
    assert {section: set(small[section]) for section in full} == {
        section: set(full[section]) for section in full
    }
    assert small["data"]["name"] == KINDS[kind]
    assert (small["data"]["synthetic"], full["data"]["synthetic"]) == (True, False)
    for choice in CHOICES:
        section, key = choice.split(".")
        assert small[section].get(key) == full[section].get(key), choice


@pytest.mark.parametrize("kind", KINDS)
def test_a_smoke_run_is_built_from_files_that_it_writes(kind, workdirs):
    """By the readers of the real ones: nothing but paths is filled in."""
    config, workdir = load(f"{kind}_sample_inter").lock(), workdirs[kind]
    before = config.to_dict()
    provide_synthetic(config, workdir)
    filled = {
        f"{section}.{key}"
        for section, values in config.to_dict().items()
        for key, value in values.items()
        if value != before[section][key]
    }
    images = {"codec.used_codes"} if kind in ("coco", "cub200", "imagenet") else set()
    clip = {"condition.weights", "condition.merges", "eval.clip_weights", "eval.clip_merges"}
    assert filled - {"data.video"} == {"data.path", "codec.weights"} | images | (
        clip if kind in ("coco", "cub200") else set()
    )
    assert all(Path(config.to_dict()[k.split(".")[0]][k.split(".")[1]]).exists() for k in filled)
    assert {path.name for path in workdir.iterdir()} == {"data"}
    assert not list((workdir / "data").glob(".*"))

    experiment = build(config, workdir, mesh=make_mesh(jax.devices()[:1]), dry_run=True)
    batch = next(experiment.training.make_batches())
    assert batch["negatives"].shape[:2] == (8, 2)
    assert miniature.NOTICE in experiment.scoring.unmeasured


@pytest.mark.parametrize("kind", ["coco", "imagenet", "tiktok"])
def test_a_written_codec_uses_many_of_its_codes(kind, workdirs):
    config = load(f"{kind}_vanilla").lock()
    provide_synthetic(config, workdirs[kind])
    codec = load_codec(config, find_places(config, workdirs[kind]))
    random = np.random.default_rng(0)
    if kind == "tiktok":
        assert codec.vocab_size == config.codec.num_codes
        codes = codec.encode(random.normal(0, 0.1, (2, codec.samples)).astype(np.float32))
    else:
        assert codec.vocab_size == 0.75 * config.codec.num_codes
        size = config.codec.image_size
        codes = codec.encode(random.integers(0, 256, (2, size, size, 3)).astype(np.uint8))
    assert len(np.unique(codes)) > 2


def test_files_are_written_once_and_whole(tmp_path, monkeypatch):
    """What a writer that fails has begun is not there, and what is there is not written again."""

    def fail(folder):
        (folder / "half.jpg").write_bytes(b"half")
        raise OSError("no space left on the device")

    monkeypatch.setitem(SETS, "aist", fail)
    with pytest.raises(OSError, match="no space left"):
        provide_synthetic(load("aist_vanilla").lock(), tmp_path)
    assert list((tmp_path / "data").iterdir()) == []
    monkeypatch.undo()
    config = load("aist_vanilla").lock()
    provide_synthetic(config, tmp_path)
    monkeypatch.setitem(SETS, "aist", fail)
    again = load("aist_vanilla").lock()
    provide_synthetic(again, tmp_path)
    assert again == config


def test_places_that_are_given_stay(tmp_path, workdirs):
    config = load("coco_vanilla")
    config.data.path = str(tmp_path)
    config.codec.weights = "mine.ckpt"
    provide_synthetic(config.lock(), workdirs["coco"])
    assert (config.data.path, config.codec.weights) == (str(tmp_path), "mine.ckpt")
    assert config.codec.used_codes is None
    assert os.path.dirname(config.condition.weights) == str(workdirs["coco"] / "data" / "clip")


def test_a_set_without_a_miniature_is_named(tmp_path):
    config = load("imagenet_vanilla")
    config.data.name = "grocery"
    with pytest.raises(ValueError, match=r'synthetic = True: there is no miniature of "grocery"'):
        provide_synthetic(config, tmp_path)
