"""The command line on pictures: codec, tokens, diffusion, scores and samples, one after another."""

import dataclasses
import importlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.build.codec_training import build_codec_training, trained_codec
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.run import run_training
from cdcd_jax.training.sharding import make_mesh
from cdcd_jax.training.stopping import Stopper

ROOT = Path(__file__).parent.parent
SMOKE = "configs/imagenet_sample_inter.py:smoke"
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
    assert names[0] == "real test pictures"
    assert {"accuracy", "frechet_distance", "codes_used", "code_perplexity"} <= set(summary)
    assert Image.open(summary["sample_grid"]).size[0] > 100

    code, output = run(workdir, "--mode=sample", "--label=3", "--num_samples=2", "--num_steps=2")
    assert code == 0, output
    assert "There is no codec" not in output
    assert any("label3" in path.name for path in (workdir / "samples").iterdir())


@pytest.mark.slow
@pytest.mark.quick_compilation
def test_a_codec_trained_in_two_parts_is_the_one_trained_in_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    config = importlib.import_module("configs.imagenet_vanilla").get_config("smoke")
    config.codec.update(channels=4, image_size=16)
    config.codec_loss.update(discriminator_start=1, discriminator_layers=1)
    config.codec_train.update(batch_size=4, num_steps=4, checkpoint_every=2)
    config.codec_optimizer.warmup_steps = 1
    mesh = make_mesh(jax.devices()[:1])
    built = build_codec_training(config.lock(), tmp_path, mesh=mesh)
    compiled = compile_step(built.training.train_step, mesh)  # once for all three
    monkeypatch.setattr("cdcd_jax.training.run.compile_step", lambda *_: compiled)
    whole, _ = run_training(built.training, tmp_path / "whole", Stopper())
    loop = dataclasses.replace(built.training.loop, num_steps=2)
    half = dataclasses.replace(built.training, loop=loop)
    run_training(half, tmp_path / "parts", Stopper())
    state, _ = run_training(built.training, tmp_path / "parts", Stopper())
    assert int(state.step) == 4
    pairs = zip(jax.tree.leaves(trained_codec(state)), jax.tree.leaves(trained_codec(whole)),
                strict=True)  # fmt: skip
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
