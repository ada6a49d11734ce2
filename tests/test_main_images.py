"""The command line on images: codec, tokens, diffusion, scores and samples, one after another."""

import dataclasses
import importlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.miniature.imagenet import WNIDS
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.tasks.codec_run import build_codec_run
from cdcd_jax.tasks.miniature import NOTICE
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.run import run_training
from cdcd_jax.training.stopping import Stopper
from tests.support.loaded_runs import check_loaded

ROOT = Path(__file__).parent.parent
SMOKE = "configs/grocery_sample_inter.py:smoke"
SMALL = (
    "--config.codec.channels=4",
    "--config.codec_loss.discriminator_start=2",
    "--config.codec_train.num_steps=4",
    "--config.codec_optimizer.warmup_steps=1",
    "--config.optimizer.warmup_steps=1",
    "--config.codec_train.sample_every=2",
    "--config.train.num_steps=4",
    "--config.train.sample_every=0",
)


@pytest.fixture
def run(run_forked):
    """Run the command to its end; return its exit code and its output."""

    def run(workdir, *arguments):
        return run_forked(f"--config={SMOKE}", f"--workdir={workdir}", *SMALL, *arguments)

    return run


@pytest.mark.slow
def test_one_command_trains_the_codec_prepares_and_trains_the_diffusion(run, tmp_path):
    workdir = tmp_path / "run"
    code, output = run(workdir)
    assert code == 0, output
    assert "There is no codec" in output
    assert "There are no tokens" in output
    assert "No FID and no Inception score: give pt_inception" in output
    quality = json.loads((workdir / "codec" / "summary.json").read_text())
    assert quality["psnr"] > 0
    assert 0 < quality["codes_used"] <= 1
    assert 0 < quality["tokens_kept"] <= 1
    assert Image.open(quality["reconstructions"]).size[0] > 300
    assert (workdir / "codec" / "reconstructions" / "step000002.png").exists()
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["config"]["loss"]["mechanism"] == "sample"
    names = [row["name"] for row in summary["rows"]]
    assert names[0] == "real test images"
    assert {"accuracy", "frechet_distance", "codes_used", "code_perplexity"} <= set(summary)
    assert Image.open(summary["sample_grid"]).size[0] > 100


@pytest.mark.slow
def test_imagenet_in_miniature(run_here, tmp_path):
    """By the reader of ImageNet's folders and of a published codec; a second run resumes."""
    workdir = tmp_path / "run"
    flags = ("--config=configs/imagenet_step_intra.py:smoke", f"--workdir={workdir}",
             "--config.optimizer.warmup_steps=1", "--config.train.log_every=1",
             "--config.train.sample_every=0")  # fmt: skip
    code, output = run_here(*flags, "--config.train.num_steps=2")
    assert code == 0, output
    assert output.startswith(NOTICE)
    assert "There is no codec" not in output  # the published kind of file is read
    first = json.loads((workdir / "summary.json").read_text())
    assert first["notes"][-1] == NOTICE
    assert any("No FID and no Inception score" in note for note in first["notes"])
    assert "more than the log2 K = 4.58 of uniform" in first["notes"][0]
    assert {"accuracy", "frechet_distance", "codes_used", "code_perplexity"} <= set(first)
    assert first["config"]["loss"]["mechanism"] == "step"
    tokens = run_here.built[-1].data.train
    views = first["config"]["prepare"]["views"]
    assert (len(tokens), tokens.class_names) == (32 * views, WNIDS)

    code, output = run_here(*flags, "--config.train.num_steps=3")
    assert code == 0, output
    assert "There are no tokens" not in output
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert json.loads((workdir / "summary.json").read_text())["steps"] == 3
    sampling = ("--mode=sample", "--label=3", "--num_samples=2", "--num_steps=2")
    code, output = run_here(*flags, *sampling)
    assert code == 0, output
    assert any("label3" in path.name for path in (workdir / "samples").iterdir())
    options = {"num_samples": 2, "seed": 1, "num_steps": 2, "truncation": 0.8}
    experiment = run_here.built[-1]
    copy, loaded = check_loaded(experiment, workdir, tmp_path, [3, WNIDS[1]], **options)
    images = loaded.sample([3, WNIDS[1]], **options)
    pixels = np.round(255 * images).astype(np.uint8)
    np.testing.assert_array_equal(loaded.encode(images), experiment.data.codec.encode(pixels))
    np.testing.assert_array_equal(loaded.encode(pixels), loaded.encode(images))
    assert np.isfinite(loaded.bits_per_token(images, [3, WNIDS[1]])).all()
    code, output = run_here("--mode=sample", f"--workdir={copy}", *sampling[1:])
    assert code == 0, output
    (image,) = (path for path in (workdir / "samples").iterdir() if "label3" in path.name)
    assert (copy / "samples" / image.name).read_bytes() == image.read_bytes()


@pytest.mark.slow
def test_a_codec_trained_in_two_parts_is_the_one_trained_in_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    config = importlib.import_module("configs.grocery_vanilla").get_config("smoke")
    config.codec.update(channels=4, image_size=16)
    config.codec_loss.update(discriminator_start=1, discriminator_layers=1)
    config.codec_train.update(batch_size=4, num_steps=4, checkpoint_every=2)
    config.codec_optimizer.warmup_steps = 1
    mesh = make_mesh(jax.devices()[:1])
    built = build_codec_run(config.lock(), tmp_path, mesh=mesh)
    compiled = compile_step(built.training.train_step, mesh)  # once for all three
    monkeypatch.setattr("cdcd_jax.training.run.compile_step", lambda *_: compiled)
    whole, _ = run_training(built.training, tmp_path / "whole", Stopper())
    loop = dataclasses.replace(built.training.loop, num_steps=2)
    half = dataclasses.replace(built.training, loop=loop)
    run_training(half, tmp_path / "parts", Stopper())
    state, _ = run_training(built.training, tmp_path / "parts", Stopper())
    assert int(state.step) == 4
    ours, theirs = (jax.tree.leaves(built.codec_of(each).params) for each in (state, whole))
    pairs = zip(ours, theirs, strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
