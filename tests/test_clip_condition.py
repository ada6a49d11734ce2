"""Frozen CLIP as the condition: a tiny tower in Hugging Face's form, from the file to samples."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.evaluation.metrics.captions.clip_towers import load_clip
from cdcd_jax.experiment.experiment import build
from cdcd_jax.interop.tiny_clip import write_clip, write_merges

ROOT = Path(__file__).parent.parent
LENGTH = 12
MERGES = ["l e", "le t", "e r</w>", "t er</w>", "d i", "di g"]
VOCAB = 512 + len(MERGES) + 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder / "model.safetensors", vocab_size=VOCAB, length=LENGTH)
    write_merges(folder / "merges.txt", MERGES)
    return folder


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def with_clip(folder, *, name="glyphs_vanilla", variant="smoke", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    config.condition = {
        "kind": "clip",
        "dropout": 0.1,
        "null": "empty",
        "weights": str(folder / "model.safetensors"),
        "merges": str(folder / "merges.txt"),
        "compute_dtype": "float32",
    }
    config.condition.update(changes)
    return config.lock()


def dry_build(config):
    return build(config, Path("none"), mesh=make_mesh(jax.devices()[:1]), dry_run=True)


def test_the_denoiser_uses_the_towers_features(files):
    folder = files
    experiment = dry_build(with_clip(folder))
    batch = next(experiment.training.make_batches())
    assert batch["cond"].shape == (64, LENGTH)
    seen = experiment.training.preprocess({name: jnp.asarray(rows) for name, rows in batch.items()})
    towers = load_clip(folder / "model.safetensors")
    tower, params = make_clip_text(**vars(towers.text_options)), towers.text_params
    wanted = jax.jit(tower.apply)(params, jnp.asarray(batch["cond"]))
    np.testing.assert_allclose(seen["cond"], wanted, atol=1e-6)
    # The tower is not part of what is trained or saved, nor of the compiled step.
    state = jax.eval_shape(experiment.training.init_state)
    assert state.params["condition"] == {}
    after, _ = jax.eval_shape(experiment.training.train_step, state, seen)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    text = jax.jit(experiment.training.train_step).lower(state, seen).as_text()
    assert len(text) < 4e6
    empty = jax.jit(tower.apply)(
        params, jnp.asarray(experiment.conditioned.conditioning.texts.tokenize([""]))
    )
    np.testing.assert_allclose(experiment.model.null({"condition": {}}, 2)[1], empty[0], atol=1e-6)


def test_coco_has_the_size_of_the_paper(tmp_path, monkeypatch):
    """Everything at full size but CLIP's depth, the images and their number."""
    write_clip(tmp_path / "model.safetensors", vocab_size=VOCAB, length=LENGTH, width=512)
    write_merges(tmp_path / "merges.txt", MERGES)
    used = tmp_path / "used.npy"
    np.save(used, np.where(np.arange(8192) < 2887, np.arange(8192), 0))
    config = with_clip(tmp_path, name="coco_sample_inter", variant="", dropout=0.0)
    with config.unlocked():
        config.codec.used_codes = str(used)
        config.data.update(name="glyphs", train_split="train", test_split="test")
        config.data.update(scripts=("digit",), num_variants=1)
        config.train.batch_size = 8
    experiment = dry_build(config)
    assert experiment.data.codec.vocab_size == 2887
    assert experiment.data.codec.grid == (32, 32)
    assert experiment.schedule.num_steps == 80
    state = jax.eval_shape(experiment.training.init_state)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert abs(size - 35.8e6) < 0.05e6  # the denoiser as the published code builds it
    assert experiment.config["loss"]["aux_weight"] == 5e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "condition.weights is not given; name CLIP's file with"),
        ({"merges": None}, "condition.merges is not given"),
        ({"merges": "none.gz"}, "There is no file none.gz; give CLIP's merges"),
        ({"weights": "none.pt"}, "none.pt"),
        ({"compute_dtype": "int8"}, 'condition.compute_dtype = "int8" must be one of'),
    ],
)
def test_what_is_missing_or_wrong_is_named(files, changes, message):
    with pytest.raises(ValueError, match=message):
        dry_build(with_clip(files, **changes))
