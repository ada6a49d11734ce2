"""The command line on captions: COCO and CUB in miniature, from the files to the scores.

Both go through all modes, one after another in this process, so that JAX starts once.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cdcd_jax.data.miniature.coco import CAPTIONS_EACH
from cdcd_jax.data.miniature.shapes import describe_shape
from cdcd_jax.tasks.miniature import NOTICE
from cdcd_jax.visualization.prompts import name_after_prompt
from tests.support.loaded_runs import check_loaded

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SMALL = (
    "--config.condition.dropout=0.1",  # for guidance
    "--config.schedule.num_steps=4",
    "--config.denoiser.num_layers=1",
    "--config.optimizer.warmup_steps=1",
    "--config.train.batch_size=4",
    "--config.train.num_steps=3",
    "--config.train.log_every=1",
    "--config.train.sample_every=0",
    "--config.eval.num_samples=6",
    "--config.eval.num_steps=(2,)",
    "--config.eval.batch_size=4",
    "--config.sample.num_steps=2",
)
PROMPTS = ("a red square", "Something blue, on grey", "a green square")


def run_all(run_here, workdir, *flags):
    """Go through all modes; return the summary and where the samples of the prompts are."""
    (workdir.parent / "prompts.txt").write_text(f"\n{PROMPTS[1]}\n\n {PROMPTS[2]} \n")
    flags = (f"--workdir={workdir}", *flags, *SMALL)
    for mode in ("prepare", "train"):
        code, output = run_here(*flags, f"--mode={mode}")
        assert code == 0, output
        assert output.startswith(NOTICE)
    assert "There are no tokens" not in output
    trained = json.loads((workdir / "summary.json").read_text())
    code, output = run_here(*flags, "--mode=evaluate")
    assert code == 0, output
    assert "No FID and no Inception score: give pt_inception" in output
    (folder,) = (workdir / "evaluations").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["bits_per_token"] == pytest.approx(trained["bits_per_token"])
    code, output = run_here(
        *flags,
        "--mode=sample",
        f"--prompt={PROMPTS[0]}",
        f"--prompt_file={workdir.parent / 'prompts.txt'}",
        "--num_samples=5",
        "--guidance=2",
        "--truncation=0.9",
        "--gif",
        "--trajectory",
    )
    assert code == 0, output
    return summary, next(line for line in output.splitlines() if line.startswith("Samples: "))


def check_summary(summary, num_test):
    assert summary["steps"] == 3
    assert [row["name"] for row in summary["rows"]] == [
        *("real test images", "real, through the codec"),
        *("samples", "samples, labels shuffled"),
    ]
    assert [row["num_samples"] for row in summary["rows"]] == [num_test, num_test, 6, 6]
    assert summary["num_test_examples"] == num_test
    bits = (summary["bits_per_token"], summary["bits_per_token_shuffled"])
    assert 0 < min(bits) < max(bits)
    assert 0 < summary["codes_used"] <= 1
    for row in summary["rows"]:
        assert 0 <= row["clip_score"] <= 2.5
        assert 0 <= row["r_precision"] <= 1
    assert summary["notes"][-1] == NOTICE
    with Image.open(summary["sample_grid"]) as grid:
        assert grid.width > 128


def check_samples(line):
    """Look at the image of the prompts, at each sample's own, and at the animation."""
    image = Path(line.removeprefix("Samples: "))
    assert f"-{name_after_prompt(chr(10).join(PROMPTS))}-seed0-" in image.name
    assert "guidance2" in image.name
    with Image.open(image) as grid:
        width, height = grid.size
    # Up to two samples of each prompt, 128 pixels wide, beside each other, and lines of text.
    assert width > 3 * 2 * 128
    assert height > 128 + 2 * 16
    counts = {prompt: 2 - (prompt == PROMPTS[2]) for prompt in PROMPTS}
    wanted = {
        f"{name_after_prompt(prompt)}-{k}.png" for prompt in PROMPTS for k in range(counts[prompt])
    }
    files = list(image.with_suffix("").iterdir())
    assert {file.name for file in files} == wanted
    for file in files:
        with Image.open(file) as sample:
            assert sample.size == (32, 32)
    with Image.open(image.with_name(f"{image.stem}-trajectory.png")) as strip:
        assert strip.width > 3 * 32
    with Image.open(image.with_name(f"{image.stem}-trajectory.gif")) as film:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    assert len(frames) == 3
    assert (frames[0] != frames[-1]).any()


def test_coco_in_miniature(run_here, tmp_path):
    """Sample-wise contrast with negatives that a file lists, one list for each caption."""
    first, number = 9000, 24
    images = [first + 7 * index for index in range(number)]
    rivals = [[images[(k + 1) % number], images[(k + 4) % number]] for k in range(number)]
    listed = [row for row in rivals for _ in range(CAPTIONS_EACH)]
    negatives = tmp_path / "negatives.json"
    negatives.write_text(json.dumps(listed))

    workdir = tmp_path / "run"
    flags = (
        "--config=configs/coco_sample_inter.py:smoke",
        f"--config.data.negatives={negatives}",
    )
    summary, samples = run_all(run_here, workdir, *flags)
    check_summary(summary, num_test=12)
    assert summary["config"]["loss"]["negatives"] == "inter"
    check_samples(samples)
    options = {"num_samples": 3, "guidance": 2.0}
    _, loaded = check_loaded(run_here.built[-1], workdir, tmp_path, [*PROMPTS[:2]], **options)
    with pytest.raises(
        ValueError, match=r"request: the text 'a zebra.* tokens, and the model reads"
    ):
        loaded.sample("a zebra " * 1250)
    assert loaded.conditioning.test_texts == run_here.built[-1].conditioned.conditioning.test_texts

    tokens = run_here.built[-1].data.train
    num_views = summary["config"]["prepare"]["views"]
    assert (len(tokens), tokens.class_names) == (number * num_views, ())
    assert tokens.image_names[0] == f"COCO_train2014_{first:012d}.jpg"
    assert tokens.captions[0] == describe_shape("red", "square")[:CAPTIONS_EACH]
    assert Counter(tokens.group.tolist()) == dict.fromkeys(range(number), num_views)
    # The negatives are those of the file; some images may share their codes.
    views = [set() for _ in range(number)]
    for image, row in zip(tokens.image_of, tokens.take(np.arange(len(tokens))), strict=True):
        views[image].add(row.tobytes())
    assert len(set.union(*views)) > 12
    batch = next(run_here.built[-1].training.make_batches())
    for own, others in zip(batch["tokens"], batch["negatives"], strict=True):
        assert any(
            own.tobytes() in views[k]
            and {row.tobytes() for row in others}
            <= views[(k + 1) % number] | views[(k + 4) % number]
            for k in range(number)
        )

    for flag, sentence in (
        (f"--prompt={'a zebra ' * 1250}", "request: the text 'a zebra a zebra"),
        ("--prompt= ", "prompt 1 is empty"),
        ("--prompt_file=none.txt", "prompt_file = none.txt cannot be read: No such file"),
        ("--label=1", "label: this is a model of texts; give --prompt instead"),
    ):
        assert fail(run_here, workdir, *flags, "--mode=sample", flag).startswith(sentence)
    negatives.write_text(json.dumps(listed[1:]))
    message = fail(run_here, workdir, *flags, "--mode=train")
    assert "has 119 entries, and the set needs 120" in message
    # As at full size, the published codec can be read and not be trained.
    message = fail(run_here, workdir, *flags, "--mode=codec")
    assert 'quantizer = "gumbel" can be loaded but not trained' in message


def fail(run_here, workdir, *flags):
    """Run a command that must end in one sentence; return it."""
    code, output = run_here(f"--workdir={workdir}", *flags, *SMALL)
    lines = [line for line in output.splitlines() if line != NOTICE]
    assert (code, len(lines)) == (2, 1), output
    return lines[0].removeprefix("Error: ")


def test_cub_in_miniature(run_here, tmp_path):
    """Step-wise contrast with shuffled patches, on species that the test does not share."""
    workdir = tmp_path / "run"
    summary, samples = run_all(run_here, workdir, "--config=configs/cub200_step_intra.py:smoke")
    check_summary(summary, num_test=8)
    # All ten captions of each of the eight test images are drawn.
    assert run_here.built[-1].conditioned.requests.num_requests == 80
    assert summary["config"]["loss"]["mechanism"] == "step"
    check_samples(samples)

    tokens = run_here.built[-1].data.train
    assert tokens.class_names[0] == "Red Shape"
    assert len(tokens.class_names) == 6
    assert tokens.captions[5] == describe_shape("green", "circle")
    # Views of each image, of one species a group; the last two are for testing.
    views = summary["config"]["prepare"]["views"]
    assert Counter(tokens.image_of.tolist()) == Counter([*range(16)] * views)
    assert Counter(tokens.group.tolist()) == dict.fromkeys(range(4), 4 * views)
