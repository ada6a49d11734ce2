"""Published checkpoints are evaluated by the command that evaluates a run's own."""

import gzip
import json
import re
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.cli import commands
from cdcd_jax.data.miniature.aist import make_aist
from cdcd_jax.diffusion.bound import evaluate_bound
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.evaluation.bits import measure_bits
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.load import load
from cdcd_jax.experiment.published import convert_published
from cdcd_jax.experiment.published_images import PUBLISHED_HEADS
from cdcd_jax.experiment.start_from import start_experiment
from cdcd_jax.experiment.start_reader import read_start, with_kept_tower
from cdcd_jax.interop import denoiser_from_reference, read_published
from cdcd_jax.models import make_denoiser
from cdcd_jax.training.state import compute_state
from configs import aist_vanilla, cub200_vanilla
from tests.support import music_files
from tests.support.published_files import (
    SMALL_CODEC,
    SMALL_TEXT,
    denoiser_options,
    keep_layers,
    make_entries,
    template,
    write_checkpoint,
    write_map,
)

pytestmark = pytest.mark.slow

USED = [0, 2, 3, 5, 6, 7, 8]
NUM_CLASSES = 11
VOCABULARY = 600
TO_TRAIN = (
    "reference_checkpoint is not read by --mode=train: add --mode=sample or --mode=evaluate, or "
    "fine-tune it: --mode=train --start_from=FILE"
)
NETWORK = (
    "--config.schedule.num_steps=5",
    "--config.denoiser.num_layers=2",
    "--config.denoiser.width=16",
    "--config.denoiser.mlp_ratio=2",
    "--config.denoiser.embedding_grid=(32, 32)",
    "--config.codec.image_size=64",
    "--config.codec.attention_resolutions=(4,)",
    *(f"--config.codec.{name}={value}" for name, value in SMALL_CODEC.items()),
)
"""What the checkpoint of classes has."""

STILL = {"lr": 1e-9, "warmup_from": 0.0, "end_lr": 0.0}

FEW = (
    "--config.codec.batch_size=8",
    "--config.prepare.batch_size=8",
    "--config.denoiser.compute_dtype=float32",
    "--config.codec.compute_dtype=float32",
    "--config.denoiser.remat=none",
    "--config.data.num_threads=1",
    "--config.train.batch_size=4",
    "--config.eval.batch_size=8",
    "--config.eval.num_samples=8",
    "--config.eval.num_steps=(2,)",
    "--config.sample.num_samples=2",
    "--config.sample.num_steps=2",
)


def write_classes(folder, num_classes=NUM_CLASSES):
    """Write three photographs of each class, two of them to train on."""
    random = np.random.default_rng(0)
    for number in range(num_classes):
        for name in ("train/0", "train/1", "test/0"):
            split, index = name.split("/")
            path = folder / split / f"class{number:02d}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = random.integers(0, 256, (1, 1, 3))
            noise = random.integers(-20, 20, (64, 64, 3))
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def small_images(monkeypatch):
    """Let published codecs be of images of 64x64, so that there are 4x4 tokens."""
    monkeypatch.setattr(commands, "convert_published", partial(convert_published, image_size=64))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Return the flags of a checkpoint of eleven classes and of images to evaluate it on."""
    folder = tmp_path_factory.mktemp("classes")
    entries = keep_layers(make_entries("imagenet")[1], 2)
    write_checkpoint(folder / "imagenet.pth", entries)
    used = write_map(folder / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    write_classes(folder / "images")
    return folder, (
        "--config=configs/imagenet_vanilla.py",
        f"--workdir={folder / 'run'}",
        "--config.data.name=folder",
        "--config.data.test_split=test",
        f"--config.data.path={folder / 'images'}",
        f"--config.data.tokens={folder / 'tokens'}",
        f"--config.codec.used_codes={used}",
        *FEW,
    )


def read_only_summary(workdir):
    (folder,) = (workdir / "evaluations").iterdir()
    return folder, json.loads((folder / "summary.json").read_text())


def test_a_model_of_classes_is_evaluated_and_fine_tuned(run_here, small_images, classes):
    folder, flags = classes
    checkpoint = folder / "imagenet.pth"
    refused = run_here(*flags, f"--reference_checkpoint={checkpoint}")
    assert refused == (2, f"Error: {TO_TRAIN}\n")
    code, output = run_here(*flags, "--mode=evaluate", f"--reference_checkpoint={checkpoint}")
    assert code == 0, output
    assert "denoiser.num_heads" not in output  # which are 16 in the configuration, too
    assert "denoiser.width = 16" in output
    place, summary = read_only_summary(folder / "run")
    assert re.match(
        r"imagenet-[0-9a-f]{6}-seed1-num_samples8-num_steps2-truncations0.86-", place.name
    )
    assert summary["checkpoint"] == str(checkpoint)
    assert summary["sample_grid"] == str(place / "samples.png")
    assert {"accuracy", "frechet_distance", "codes_used"} <= set(summary)
    assert not (folder / "run" / "summary.json").exists()

    found = read_published(checkpoint)
    options = denoiser_options("imagenet") | {"grid": (4, 4), "num_layers": 2}
    network = make_denoiser(**options | {"num_heads": PUBLISHED_HEADS})
    params = denoiser_from_reference(found.denoiser, template(network), prefix="")
    schedule = mask_replace_schedule(num_steps=5, vocab_size=7)

    @jax.jit
    def bound_fn(key, z0, cond):
        return evaluate_bound(key, schedule, partial(network.apply, params), z0, cond)

    test = run_here.built[-1].conditioned.test
    key, _, _ = jax.random.split(jax.random.key(1), 3)
    bits, _ = measure_bits(key, bound_fn, test, np.arange(11), batch_size=8, progress=False)
    assert summary["bits_per_token"] == pytest.approx(bits, rel=1e-4)

    # Fine-tuned by a step that changes next to nothing, it has the same bits.
    workdir = f"--workdir={folder / 'tuned'}"
    still = [f"--config.optimizer.{name}={lr}" for name, lr in STILL.items()]
    train = (*flags, workdir, *NETWORK, *still, "--config.train.num_steps=1")
    train = (*train, f"--start_from={checkpoint}")
    code, output = run_here(*train)
    assert code == 0, output
    assert f"Starting from {checkpoint}: 25 of 25 arrays are taken, 100.00 %" in output
    tuned = json.loads((folder / "tuned" / "summary.json").read_text())
    assert tuned["bits_per_token"] == pytest.approx(bits, rel=1e-3)


def write_captions(folder):
    """Write coloured images with two captions each, five to train on and three to test on."""
    for number, colour in enumerate(("red", "green", "blue", "white", "black", "pink", "brown")):
        path = folder / ("train" if number < 4 else "test") / f"{colour}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), colour).save(path)
        path.with_suffix(".txt").write_text(f"a {colour} square\nsomething {colour}\n")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Return the flags of a checkpoint of texts and of captioned images."""
    folder = tmp_path_factory.mktemp("texts")
    sizes = SMALL_TEXT | {49408: VOCABULARY, 77: 12}
    entries = keep_layers(make_entries("cub200", sizes)[1], 2)
    learned = np.random.default_rng(0).normal(size=(12, 8))
    write_checkpoint(folder / "cub.pth", entries)
    entries["ema"]["empty_text_embed"] = learned
    write_checkpoint(folder / "learnable.pth", entries)
    used = write_map(folder / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = [f"{a} {b}" for a in letters for b in letters][: VOCABULARY - 514]
    (folder / "bpe.txt.gz").write_bytes(gzip.compress("\n".join(["#version", *pairs]).encode()))
    write_captions(folder / "images")
    return folder, (
        "--config=configs/cub200_vanilla.py",
        f"--workdir={folder / 'run'}",
        "--config.data.name=captions",
        "--config.data.train_split=train",
        "--config.data.test_split=test",
        f"--config.data.path={folder / 'images'}",
        f"--config.data.tokens={folder / 'tokens'}",
        f"--config.codec.used_codes={used}",
        "--config.prepare.views=1",
        "--config.loss.positions_per_pass=16",
        *FEW,
    )


def test_a_model_of_texts(run_here, small_images, texts, monkeypatch):
    monkeypatch.setattr(commands, "convert_published", partial(convert_published, image_size=32))
    folder, flags = texts
    flags = (*flags, "--mode=evaluate")
    code, output = run_here(*flags, f"--reference_checkpoint={folder / 'cub.pth'}")
    assert code == 2
    assert "bpe_merges is not given; name CLIP's file" in output
    flags = (*flags, f"--bpe_merges={folder / 'bpe.txt.gz'}")
    code, output = run_here(*flags, f"--reference_checkpoint={folder / 'cub.pth'}")
    assert code == 0, output
    _, summary = read_only_summary(folder / "run")
    assert summary["bits_per_token"] != summary["bits_per_token_shuffled"]
    assert summary["config"]["condition"]["null"] == "empty"
    experiment = run_here.built[-1]
    config = cub200_vanilla.get_config()
    config.codec.used_codes = str(folder / "taming_vqvae_7.pt")
    place = folder / "run" / "published" / "cub"
    model = load(place)
    ours = experiment.conditioned.conditioning
    tokens = ours.texts.tokenize(["a red square"])
    embedded = model.conditioning.embed(tokens)
    np.testing.assert_allclose(ours.embed(tokens), embedded, rtol=1e-6)

    # Fine-tuned, it reads texts with the checkpoint's tower, which the run keeps with the codec.
    config.data.update(name="captions", path=str(folder / "images"), tokens=str(folder / "tokens"))
    config.data.update(train_split="train", test_split="test")
    config.codec.update(image_size=32, attention_resolutions=(4,), **SMALL_CODEC)
    config.condition.merges = str(folder / "bpe.txt.gz")
    config.schedule.num_steps = 5
    config.denoiser.update(num_layers=2, width=16, embedding_grid=(32, 32))
    config.loss.positions_per_pass = 16
    check_fine_tuning(config, folder / "learnable.pth", folder / "tuned", new=0)
    config.condition.update(dropout=0.1, null="learned", weights=None)
    state = check_fine_tuning(config, folder / "learnable.pth", folder / "guided", new=0)
    learned = read_published(folder / "learnable.pth").empty_text
    np.testing.assert_array_equal(state.params["condition"]["null"], learned)


def check_fine_tuning(config, checkpoint, workdir, new):
    """Start a run on prepared tokens; return its first state."""
    config.train.batch_size = 4
    config.denoiser.compute_dtype = config.codec.compute_dtype = "float32"
    config.eval.num_steps = (2,)
    start = read_start(config, checkpoint, workdir)
    config = with_kept_tower(config, workdir)
    experiment = build(config, workdir, mesh=make_mesh(jax.devices()[:1]))
    said: list[str] = []
    training = start_experiment(experiment, start, report=said.append).training
    assert sum("  new: " in line for line in said) == new, said
    return training.start(compute_state(training.init_state, training.shardings()))


@pytest.fixture(scope="module")
def dances(tmp_path_factory):
    """Return the flags of a checkpoint of music and of dances to evaluate it on, in 0.2 s each."""
    folder = tmp_path_factory.mktemp("dances")
    with pytest.MonkeyPatch.context() as patch:
        # As many tokens, frames and features as such data have.
        for size, small in {1033: 34, 219: 219}.items():
            patch.setitem(music_files.SIZES, size, small)
        entries = music_files.make_music_entries("aist", num_layers=2)
    write_checkpoint(folder / "aist.pth", entries)
    make_aist(folder / "aist", seconds=1.0)
    for path in (folder / "aist" / "video").iterdir():
        np.save(path, np.load(path)[:, :7])
    return folder, (
        "--config=configs/aist_vanilla.py",
        f"--workdir={folder / 'run'}",
        f"--config.data.path={folder / 'aist'}",
        f"--config.data.video={folder / 'aist' / 'video'}",
        "--config.data.seconds=0.2",
        "--config.data.stride=0.4",
        "--config.data.test_stride=0.4",
        "--config.data.intra=tokens",
        "--config.prepare.views=1",
        "--config.prepare.shuffles=0",
        "--config.eval.num_real=4",
        "--config.eval.num_judged=4",
        *FEW,
    )


def test_a_model_of_music(run_here, dances):
    folder, flags = dances
    flags = (*flags, "--mode=evaluate", f"--reference_checkpoint={folder / 'aist.pth'}")
    code, output = run_here(*flags, "--config.data.seconds=0.4")
    assert code == 2
    assert "aist.pth makes music of 34 tokens, 0.20 s, but data.seconds = 0.4" in output
    code, output = run_here(*flags)
    assert code == 0, output
    assert "condition.encoder = reference" in output
    _, summary = read_only_summary(folder / "run")
    assert {"beats_coverage", "genre_accuracy", "bits_per_token_shuffled"} <= set(summary)
    experiment, found = run_here.built[-1], load(folder / "run" / "published" / "aist")
    codec: Any = found.codec
    np.testing.assert_allclose(experiment.schedule.beta_bar, found.schedule.beta_bar)
    assert experiment.data.codec.fingerprint == codec.fingerprint
    cond = jax.tree.map(lambda rows: rows[np.arange(2)], experiment.conditioned.test.cond)
    ours = experiment.model.encode(found.params, cond)
    np.testing.assert_allclose(ours, found.model.encode(found.params, cond), rtol=1e-6)

    # Fine-tuned with the published encoder all is taken, with another one the denoiser.
    config = aist_vanilla.get_config()
    config.data.update(path=str(folder / "aist"), video=str(folder / "aist" / "video"))
    config.data.update(seconds=0.2, stride=0.4, test_stride=0.4, intra="tokens")
    config.data.tokens = str(folder / "run" / "tokens")
    options = codec.jukebox.options.__dict__
    config.codec.update(options | {"batch_size": 8, "level": 2})
    del config.codec.sample_rate  # which every configuration has in common
    config.condition.update(
        encoder="reference", video=True, dropout=0.0, width=16, genre_width=2, hidden=50,
        channels=experiment.config["condition"]["channels"],
    )  # fmt: skip
    config.denoiser.update(num_layers=2, width=16)
    config.schedule.num_steps = found.schedule.num_steps
    state = check_fine_tuning(config, folder / "aist.pth", folder / "tuned", new=0)
    jax.tree.map(np.testing.assert_array_equal, state.params, found.params)
