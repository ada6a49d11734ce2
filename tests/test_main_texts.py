"""The command line on captions: COCO and CUB as one downloads them, from the files to the scores.

Both go through all modes, one after another in this process, so that JAX starts once.
"""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cdcd_jax.codecs.patches import load_patches
from cdcd_jax.data.miniature.coco import write_coco
from cdcd_jax.data.miniature.cub import write_cub, write_cub_list
from cdcd_jax.data.shards import TokenShards
from cdcd_jax.evaluation.prompts import name_after_prompt

pytestmark = [pytest.mark.slow, pytest.mark.quick_compilation]

ROOT = Path(__file__).parent.parent
COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange", "pink", "brown")
SMALL = (
    "--config.codec.image_size=16",
    "--config.codec.num_codes=8",
    "--config.condition.vocab_size=280",
    "--config.condition.width=8",
    "--config.condition.num_heads=2",
    "--config.schedule.num_steps=4",
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.denoiser.num_heads=2",
    "--config.optimizer.warmup_steps=1",
    "--config.train.batch_size=4",
    "--config.train.num_steps=3",
    "--config.train.log_every=1",
    "--config.train.sample_every=0",
    "--config.eval.num_samples=6",
    "--config.eval.num_steps=(2,)",
    "--config.eval.batch_size=4",
    "--config.sample.num_samples=4",
    "--config.sample.num_steps=2",
)
PROMPTS = ("a red square", "Something blue, on grey", "a green square")


def draw(colour):
    """Draw a square of a colour on grey, wider than high."""
    picture = Image.new("RGB", (24, 18), "grey")
    picture.paste(Image.new("RGB", (9, 9), colour), (6, 4))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


def describe(colour):
    return (f"A {colour} square.", f"something  {colour} on grey", f"a square that is {colour}")


def open_tokens(workdir):
    codec = load_patches(workdir / "codec" / "codec.safetensors")
    return TokenShards(workdir / "tokens" / "train", fingerprint=codec.fingerprint)


def run_all(run_here, workdir, *flags):
    """Go through all modes; return the summary and where the samples of the prompts are."""
    (workdir.parent / "prompts.txt").write_text(f"\n{PROMPTS[1]}\n\n {PROMPTS[2]} \n")
    flags = (f"--workdir={workdir}", *flags, *SMALL)
    for mode in ("codec", "prepare", "train"):
        code, output = run_here(*flags, f"--mode={mode}")
        assert code == 0, output
    assert "There are no tokens" not in output
    trained = json.loads((workdir / "summary.json").read_text())
    code, output = run_here(*flags, "--mode=evaluate")
    assert code == 0, output
    assert "No CLIPScore and no R-precision: give CLIP ViT-B/32" in output
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
        *("real test pictures", "real, through the codec"),
        *("samples", "samples, labels shuffled"),
    ]
    assert [row["num_samples"] for row in summary["rows"]] == [num_test, num_test, 6, 6]
    assert summary["num_test_examples"] == num_test
    bits = (summary["bits_per_token"], summary["bits_per_token_shuffled"])
    assert 0 < min(bits) < max(bits) < 8
    assert 0 < summary["codes_used"] <= 1
    with Image.open(summary["sample_grid"]) as grid:
        assert grid.width > 128


def check_samples(line):
    """Look at the picture of the prompts, at each sample's own, and at the animation."""
    picture = Path(line.removeprefix("Samples: "))
    assert picture.name.startswith(f"{name_after_prompt(chr(10).join(PROMPTS))}-seed0-")
    assert "guidance2" in picture.name
    with Image.open(picture) as grid:
        width, height = grid.size
    # Up to two samples of each prompt, 128 pixels wide, beside each other, and lines of text.
    assert width > 3 * 2 * 128
    assert height > 128 + 2 * 16
    counts = {prompt: 2 - (prompt == PROMPTS[2]) for prompt in PROMPTS}
    wanted = {
        f"{name_after_prompt(prompt)}-{k}.png" for prompt in PROMPTS for k in range(counts[prompt])
    }
    files = list(picture.with_suffix("").iterdir())
    assert {file.name for file in files} == wanted
    for file in files:
        with Image.open(file) as sample:
            assert sample.size == (16, 16)
    with Image.open(picture.with_name(f"{picture.stem}-trajectory.png")) as strip:
        assert strip.width > 3 * 16
    with Image.open(picture.with_name(f"{picture.stem}-trajectory.gif")) as film:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    assert len(frames) == 3
    assert (frames[0] != frames[-1]).any()


def test_coco_as_downloaded(run_here, tmp_path):
    """Sample-wise contrast with negatives that a file lists, one list for each caption."""
    folder = tmp_path / "coco"
    owners = {}
    for split, colours in (("train2014", COLOURS[:8]), ("val2014", COLOURS[5:])):
        images, captions, pictures = [], [], {}
        for number, colour in enumerate(colours, start=30):
            name = f"COCO_{split}_{number:012d}.jpg"
            images.insert(0, {"id": number, "file_name": name, "height": 18, "width": 24})
            pictures[name] = draw(colour)
            captions += [{"image_id": number, "id": 0, "caption": c} for c in describe(colour)[:2]]
        captions.append({"image_id": 30, "id": 1, "caption": describe(colours[0])[2]})
        write_coco(folder, split, images=images, captions=captions, pictures=pictures)
        owners[split] = [caption["image_id"] for caption in captions]
    listed = [[30 + (owner - 29) % 8, 30 + (owner - 26) % 8] for owner in owners["train2014"]]
    negatives = tmp_path / "negatives.json"
    negatives.write_text(json.dumps(listed))

    workdir = tmp_path / "run"
    flags = (
        "--config=configs/coco_sample_inter.py:smoke",
        "--config.data.name=coco",
        f"--config.data.path={folder}",
        "--config.data.train_split=train2014",
        "--config.data.test_split=val2014",
        f"--config.data.negatives={negatives}",
    )
    summary, samples = run_all(run_here, workdir, *flags)
    check_summary(summary, num_test=5)
    assert summary["config"]["loss"]["negatives"] == "inter"
    check_samples(samples)

    tokens = open_tokens(workdir)
    assert (len(tokens), tokens.class_names) == (8, ())
    assert tokens.picture_names[0] == "COCO_train2014_000000000030.jpg"
    assert tokens.captions[0] == ("A red square.", "something red on grey", "a square that is red")
    assert [len(texts) for texts in tokens.captions[1:]] == [2] * 7
    assert tokens.group.tolist() == list(range(8))
    # The negatives are those of the file; some colours may share their codes.
    rows = [row.tobytes() for row in tokens.take(np.arange(8))]
    assert len(set(rows)) > 5
    wanted = [(row, {rows[(k + 1) % 8], rows[(k + 4) % 8]}) for k, row in enumerate(rows)]
    batch = next(run_here.built[-1].training.make_batches())
    for own, others in zip(batch["tokens"], batch["negatives"], strict=True):
        assert (own.tobytes(), {row.tobytes() for row in others}) in wanted

    for flag, sentence in (
        (f"--prompt={'a zebra ' * 1250}", 'the prompt "a zebra a zebra'),
        ("--prompt= ", "prompt 1 is empty"),
        ("--prompt_file=none.txt", "prompt_file = none.txt cannot be read: No such file"),
        ("--label=1", "label = 1: this is a model of texts; give --prompt instead"),
    ):
        code, output = run_here(f"--workdir={workdir}", *flags, *SMALL, "--mode=sample", flag)
        assert (code, output.count("\n")) == (2, 1)
        assert output.startswith(f"Error: {sentence}")
    negatives.write_text(json.dumps(listed[1:]))
    code, output = run_here(f"--workdir={workdir}", *flags, *SMALL, "--mode=train")
    assert (code, output.count("\n")) == (2, 1)
    assert "has 16 entries, and the set asks for 17" in output


def test_cub_as_downloaded(run_here, tmp_path):
    """Step-wise contrast with shuffled patches, on species that the test does not share."""
    folder, species = tmp_path / "cub", ("001.Red_Gull", "002.Blue_Jay", "003.Old_Owl")
    names = [f"{species[k // 3]}/Bird_{k:04d}_{k}" for k in range(9)]
    texts = {
        name: "\n".join(describe(colour)) + "\n"
        for name, colour in zip(names, COLOURS, strict=False)
    }
    pictures = {name: draw(colour) for name, colour in zip(names, COLOURS, strict=False)}
    write_cub(folder, captions=texts, train=range(9), pictures=pictures)
    write_cub_list(folder, "train", names[5::-1], protocol=2)
    write_cub_list(folder, "test", [f"{name}\r" for name in names[6:]])

    workdir = tmp_path / "run"
    summary, samples = run_all(
        run_here,
        workdir,
        "--config=configs/cub200_step_intra.py:smoke",
        "--config.data.name=cub",
        f"--config.data.path={folder}",
        "--config.data.train_split=train_classes",
        "--config.data.test_split=test_classes",
        "--config.prepare.views=2",
        "--config.prepare.crop=dalle",
        "--config.prepare.flip=True",
        "--config.eval.all_captions=True",
    )
    check_summary(summary, num_test=3)
    requests = run_here.built[-1].told.requests
    assert (requests.num_requests, requests.of_example.tolist()) == (9, [0, 4, 8])
    assert summary["config"]["loss"]["mechanism"] == "step"
    check_samples(samples)

    tokens = open_tokens(workdir)
    assert tokens.class_names == ("Red Gull", "Blue Jay", "Old Owl")
    assert [name.removesuffix(".jpg") for name in tokens.picture_names] == names[5::-1]
    assert tokens.captions[5] == (
        "A red square.",
        "something red on grey",
        "a square that is red",
    )
    # Two views of each picture, of one species a group.
    assert Counter(tokens.picture_of.tolist()) == Counter([*range(6)] * 2)
    assert Counter(tokens.group.tolist()) == {0: 6, 1: 6}
