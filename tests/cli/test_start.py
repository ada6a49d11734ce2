"""Runs start from published checkpoints and from other runs, and say what they take."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.codecs.codec_file import flatten, load_vqgan, name_leaves
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment import start_reader as start_reading
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.start_from import Start, start_experiment
from cdcd_jax.experiment.start_reader import read_start, with_kept_tower
from cdcd_jax.experiment.transfer import take_arrays
from cdcd_jax.interop import denoiser_from_reference, read_published
from cdcd_jax.models import make_denoiser
from cdcd_jax.training.average import find_checkpoint, read_average
from cdcd_jax.training.checkpoints.compatibility import OtherConfigError
from cdcd_jax.training.checkpoints.folder import CheckpointError
from cdcd_jax.training.checkpoints.manager import Checkpoints, RunProgress
from cdcd_jax.training.run import load_training, run_training
from cdcd_jax.training.state import compute_state
from cdcd_jax.training.stopping import Stopper
from configs import cub200_vanilla, digits_vanilla, glyphs_vanilla, imagenet_vanilla
from tests.support.published_files import (
    PUBLISHED,
    SMALL_CODEC,
    denoiser_options,
    keep_layers,
    make_entries,
    template,
    write_checkpoint,
    write_map,
)

CLASSES = "denoiser/blocks/mlp_norm/table/embedding"
STEPS = "denoiser/blocks/self_norm/table/embedding"


def one_device():
    return make_mesh(jax.devices()[:1])


def start_from(config, path, workdir, report=print, **options):
    start = read_start(config, path, workdir)
    experiment = build(config, workdir, mesh=one_device(), **options)
    return experiment, start_experiment(experiment, start, report=report)


def fresh_state(experiment):
    return compute_state(experiment.training.init_state, experiment.training.shardings())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return the file of a checkpoint of eleven classes, and a configuration for five others."""
    folder = tmp_path_factory.mktemp("published")
    entries = keep_layers(make_entries("imagenet")[1], 2)
    path = write_checkpoint(folder / "imagenet.pth", entries)
    used = write_map(folder / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], [0, 2, 3, 5, 6, 7, 8])
    for split in ("train", "test"):
        for number in range(5):
            place = folder / split / str(number) / "a.png"
            place.parent.mkdir(parents=True)
            Image.new("RGB", (64, 64), (50 * number, 0, 0)).save(place)
    config = imagenet_vanilla.get_config()
    config.data.update(name="folder", path=str(folder), test_split="test", tokens=None)
    config.codec.update(
        image_size=64, attention_resolutions=(4,), used_codes=str(used), **SMALL_CODEC
    )
    config.denoiser.update(num_layers=2, width=16, mlp_ratio=2, compute_dtype="float32")
    config.schedule.num_steps = 10
    config.train.batch_size = 4
    config.eval.num_steps = (2,)
    return path, config


def test_other_classes_and_steps_of_a_published_checkpoint(published, tmp_path):
    path, config = published
    said: list[str] = []
    experiment, started = start_from(config, path, tmp_path, said.append, dry_run=True)
    assert said[0].startswith(f"Starting from {path}: 24 of 25 arrays are taken, ")
    assert said[1:] == [
        f"  adapted: {STEPS}: resampled from 5 to 10 steps",
        f"  new: {CLASSES}: [2, 11, 16] there, [2, 5, 16] here (other classes)",
    ]
    options = denoiser_options("imagenet") | {"num_layers": 2, "num_heads": 16, "grid": (4, 4)}
    found = read_published(path)
    params = denoiser_from_reference(found.denoiser, template(make_denoiser(**options)), prefix="")
    theirs = flatten({"denoiser": params})

    fresh = fresh_state(experiment)
    opt_state, before = jax.device_get((fresh.opt_state, flatten(fresh.params)))
    state = started.training.start(fresh)
    ours = flatten(state.params)
    jax.tree.map(np.testing.assert_array_equal, flatten(state.ema_params), ours)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.opt_state), opt_state)
    assert int(state.step) == 0
    np.testing.assert_array_equal(ours[CLASSES], before[CLASSES])
    np.testing.assert_allclose(ours[STEPS][:, 1::2], theirs[STEPS], rtol=1e-6)  # t=2, 4, ...
    middle = (theirs[STEPS][:, 0] + theirs[STEPS][:, 1]) / 2
    np.testing.assert_allclose(ours[STEPS][:, 2], middle, rtol=1e-6)
    for name in ours.keys() - {CLASSES, STEPS}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)

    _, options, used = load_vqgan(tmp_path / "codec" / "codec.safetensors")
    assert used is not None
    assert (options.num_codes, len(used)) == (9, 7)
    assert started.training.compatibility == experiment.training.compatibility | {
        "start_from": "imagenet.pth"
    }


def test_what_the_configuration_cannot_use_is_refused(published, tmp_path):
    path, published_config = published

    def refused(message, error: type[Exception] = ValueError, path=path, **denoiser):
        config = published_config.copy_and_resolve_references()
        config.denoiser.update(denoiser)
        with pytest.raises(error, match=message):
            start_from(config, path, tmp_path / "other", dry_run=True)

    refused(r"has no weights in common with this .*blocks/mlp/contract", width=32)
    refused(r"denoiser.num_heads = 8, but the weights .* give --config.denoiser.num_heads=16",
            num_heads=8)  # fmt: skip
    refused("denoiser.activation = gelu, but .* need gelu2", activation="gelu")
    refused("none.pth: there is no such file or folder", path=tmp_path / "none.pth")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    refused("is not a checkpoint: the folder holds no complete", path=tmp_path / "run")
    with pytest.raises(ValueError, match=r'codec.name = "pixels" must be "vqgan" to start from'):
        read_start(digits_vanilla.get_config("smoke"), path, tmp_path / "digits")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\x89PNG\r\n", r"it begins with b'\\x89PNG'"),
        (b"", "it is empty"),
        (None, "the folder hol"),
    ],
)
@pytest.mark.parametrize("config", [digits_vanilla, imagenet_vanilla])
def test_what_is_no_checkpoint_at_all_is_named(tmp_path, content, fault, config):
    path = tmp_path / "a.png"
    path.mkdir() if content is None else path.write_bytes(content)
    sentence = (
        rf"start_from = .*a\.png is not a checkpoint: {fault}.*; give the folder of a run, a "
    )
    with pytest.raises(ValueError, match=sentence):
        read_start(config.get_config("smoke"), path, tmp_path / "run")


def tiny_digits(**changes):
    config = digits_vanilla.get_config("smoke")
    config.denoiser.update(num_layers=1, width=8)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run with a checkpoint, and its state."""
    folder = tmp_path_factory.mktemp("run")
    experiment = build(tiny_digits(), folder, mesh=one_device())
    state = fresh_state(experiment)
    compatibility = experiment.training.compatibility
    with Checkpoints(folder / "checkpoints", compatibility=compatibility) as checkpoints:
        checkpoints.save(state, RunProgress(None, 0.0), loss=1.0)
        checkpoints.wait()
    return folder, state


def start_digits(path, workdir, **changes):
    """Start a run of digits; return what is said and its first parameters."""
    config = tiny_digits(train__seed=7, **changes)
    said: list[str] = []
    experiment, started = start_from(config, path, workdir, said.append)
    return said, flatten(started.training.start(fresh_state(experiment)).params)


def test_a_run_starts_from_another(run, tmp_path):
    folder, state = run
    newest = folder / "checkpoints" / "0"
    assert {find_checkpoint(path) for path in (folder, newest.parent, newest)} == {newest}
    said, ours = start_digits(folder, tmp_path)
    assert len(said) == 1
    assert "100.00 % of the parameters" in said[0]
    jax.tree.map(np.testing.assert_array_equal, ours, flatten(state.ema_params))
    said, ours = start_digits(folder, tmp_path, condition__dropout=0.1, denoiser__mlp_ratio=1)
    assert f"  adapted: {CLASSES}: the rows of its 10 classes, and their mean for no class" in said
    np.testing.assert_array_equal(ours[CLASSES][:, :10], flatten(state.params)[CLASSES])
    assert sum("mlp/expand" in line for line in said) == 2
    with pytest.raises(ValueError, match=r"denoiser.num_heads = 4, but the weights .* need 2"):
        start_digits(folder, tmp_path, denoiser__num_heads=4)


def test_what_is_in_a_folder_says_what_it_is_not_its_name(run, tmp_path):
    for name in ("checkpoints", "checkpoints/4"):
        step = tmp_path / name / "checkpoints" / "12"
        step.mkdir(parents=True)
        (step.parent / "013").mkdir()
        assert find_checkpoint(tmp_path / name) == step
    workdir = tmp_path / "checkpoints" / "5"  # of a new run, and no checkpoint
    workdir.mkdir()
    assert read_start(tiny_digits(), run[0], workdir).arrays


def test_a_started_run_goes_on_from_its_own_checkpoints(run, tmp_path, capsys):
    folder, state = run
    still = {
        "optimizer__lr": 1e-9, "optimizer__decay": "constant", "optimizer__warmup_steps": 0,
        "train__sample_every": 0,
    }  # fmt: skip
    config = tiny_digits(**still, train__num_steps=1)
    _, started = start_from(config, folder, tmp_path)
    ended, _ = run_training(started.training, tmp_path, Stopper())
    for name, array in flatten(state.ema_params).items():
        np.testing.assert_allclose(flatten(ended.params)[name], array, atol=1e-6)
    assert "Starting from" in capsys.readouterr().out

    config = tiny_digits(**still, train__num_steps=2)
    experiment, started = start_from(config, folder, tmp_path)
    ended, _ = run_training(started.training, tmp_path, Stopper())
    assert int(ended.step) == 2
    said = capsys.readouterr().out
    assert "Going on from step 1" in said
    assert "Starting from" not in said
    # To sample or to score nobody need say what it started from, to train on one must.
    found, _ = load_training(experiment.training, tmp_path)
    assert int(found.step) == 2
    message = r"start_from = '(run\d*)' there, 'absent' now.*resume it with --start_from=\1$"
    with pytest.raises(OtherConfigError, match=message):
        run_training(experiment.training, tmp_path, Stopper())


def test_a_damaged_checkpoint_is_named(run, tmp_path):
    path = tmp_path / "checkpoints" / "3"
    path.mkdir(parents=True)
    (path / "state").write_text("nothing")
    with pytest.raises(CheckpointError, match=r"checkpoints/3 cannot be read as a checkpoint"):
        start_digits(tmp_path, tmp_path / "new")


def test_a_run_that_is_not_finite_is_refused(run, tmp_path, monkeypatch):
    folder, _ = run
    found = read_average(folder / "checkpoints" / "0")
    name = next(iter(found.arrays))
    found.arrays[name] = np.full_like(found.arrays[name], np.nan)
    monkeypatch.setattr(start_reading, "read_newest_average", lambda path: found)
    with pytest.raises(ValueError, match=rf"start_from = .* holds {name}, .* NaN or infinite"):
        read_start(tiny_digits(), folder, tmp_path)


def test_a_run_on_its_way_reads_nothing(run, tmp_path):
    folder, _ = run
    said: list[str] = []
    _, started = start_from(tiny_digits(), Path("moved.pth"), folder, said.append)
    assert said == []
    assert started.training.compatibility["start_from"] == "moved.pth"


def test_tokens_of_texts_that_mean_something_else_are_new(tmp_path):
    config = glyphs_vanilla.get_config("smoke")
    config.data.scripts = ("digit",)
    config.denoiser.update(num_layers=1)
    experiment = build(config, tmp_path, mesh=one_device(), dry_run=True)
    shapes = jax.eval_shape(experiment.model.init, jax.random.key(0))
    arrays = flatten(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    ours = experiment.conditioned.conditioning.fingerprint
    for vocabulary, new in {ours: 0, "another": 1}.items():
        said: list[str] = []
        start = Start(path=Path("run"), arrays=arrays, unseen={}, vocabulary=vocabulary)
        start_experiment(experiment, start, report=said.append)
        assert sum("new: condition/encoder/token" in line for line in said) == new


def test_the_kept_text_tower_is_read_where_no_other_is_named(tmp_path):
    config = cub200_vanilla.get_config()
    assert with_kept_tower(config, tmp_path) is config
    tower = tmp_path / "start" / "text.safetensors"
    tower.parent.mkdir()
    tower.touch()
    assert with_kept_tower(config, tmp_path).condition.weights == str(tower)
    config.condition.weights = "ViT-B-32.pt"
    assert with_kept_tower(config, tmp_path) is config


@pytest.mark.parametrize(
    ("null_class", "rows", "num_classes", "taken"),
    [
        (True, 6, 6, True),
        (True, 7, 6, True),
        (False, 7, 7, True),
        (False, 8, 7, True),
        (False, 6, 6, False),  # one class less
        (False, 7, 6, False),  # a row for no class where the last class was
        (True, 7, 7, False),
        (True, 8, 7, False),
        (False, 8, 8, False),
    ],
)
def test_only_a_row_for_no_class_may_be_missing_or_too_many(null_class, rows, num_classes, taken):
    tables = {CLASSES: np.ones((1, 7, 2), np.float32)}
    wanted = {CLASSES: np.zeros((1, rows, 2))}
    found = take_arrays(tables, wanted, num_classes=num_classes, null_class=null_class).arrays
    assert {name: array.shape for name, array in found.items()} == (
        {CLASSES: (1, rows, 2)} if taken else {}
    )


@pytest.mark.parametrize("name", ["imagenet", "coco", "cub200", "aist", "tiktok"])
def test_paper_size_configurations_have_the_published_networks(name):
    """All weights of a published checkpoint have a place; T is the configuration's own."""
    config = importlib.import_module(f"configs.{name}_vanilla").get_config()
    theirs = PUBLISHED[name]
    given = ("vocab_size", "grid", "condition", "num_classes", "cond_dim")
    told = {key: theirs[key] for key in given if key in theirs}
    ours = make_denoiser(**config.denoiser, **told, num_steps=theirs["num_steps"])
    wanted, found = (
        {key: leaf.shape for key, leaf in name_leaves(template(network)).items()}
        for network in (make_denoiser(**theirs), ours)
    )
    assert found == wanted
    assert config.denoiser.num_heads == theirs["num_heads"]
