"""Published checkpoints are evaluated by the command that evaluates a run's own."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.build import pretrained
from cdcd_jax.build.published import PUBLISHED_HEADS, load_published
from cdcd_jax.diffusion.bound import evaluate_bound
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.evaluation.bits import measure_bits
from cdcd_jax.interop import denoiser_from_reference, read_published
from cdcd_jax.networks import make_denoiser

sys.path.append(str(Path(__file__).parents[1] / "interop"))
from published_files import (
    SMALL_CODEC,
    denoiser_options,
    make_entries,
    template,
    write_checkpoint,
    write_map,
)

pytestmark = pytest.mark.quick_compilation

USED = [0, 2, 3, 5, 6, 7, 8]
NUM_CLASSES = 11
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
    monkeypatch.setattr(pretrained, "load_published", partial(load_published, image_size=64))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Return the flags of a checkpoint of eleven classes and of images to evaluate it on."""
    folder = tmp_path_factory.mktemp("classes")
    write_checkpoint(folder / "imagenet.pth", make_entries("imagenet")[1])
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


def test_a_model_of_classes(run_here, small_images, classes):
    folder, flags = classes
    checkpoint = folder / "imagenet.pth"
    code, output = run_here(*flags, "--mode=evaluate", f"--reference_checkpoint={checkpoint}")
    assert code == 0, output
    assert "denoiser.num_heads" not in output  # which are 16 in the configuration, too
    assert "denoiser.width = 16" in output
    place, summary = read_only_summary(folder / "run")
    assert place.name.startswith("imagenet-seed1-num_samples8-num_steps2-truncations0.86-")
    assert summary["checkpoint"] == str(checkpoint)
    assert summary["sample_grid"] == str(place / "samples.png")
    assert {"accuracy", "frechet_distance", "codes_used"} <= set(summary)
    assert not (folder / "run" / "summary.json").exists()

    found = read_published(checkpoint)
    options = denoiser_options("imagenet") | {"grid": (4, 4), "num_heads": PUBLISHED_HEADS}
    network = make_denoiser(**options)
    params = denoiser_from_reference(found.denoiser, template(network), prefix="")
    schedule = mask_replace_schedule(num_steps=5, vocab_size=7)

    @jax.jit
    def bound_fn(key, z0, cond):
        return evaluate_bound(key, schedule, partial(network.apply, params), z0, cond)

    test = run_here.built[-1].told.test
    key, _, _ = jax.random.split(jax.random.key(1), 3)
    bits, _ = measure_bits(key, bound_fn, test, np.arange(11), batch_size=8, progress=False)
    assert summary["bits_per_token"] == pytest.approx(bits, rel=1e-4)
