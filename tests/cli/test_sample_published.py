"""Files with all names of the published ones are converted, loaded and sampled."""

import gzip
import os
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from cdcd_jax.cli.drawing import name_after_file, read_request
from cdcd_jax.cli.flag_checks import check_flags
from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.conditioning.clip_bpe import NUM_MERGES, ClipTokenizer
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.diffusion.samplers.sample import sample
from cdcd_jax.experiment import published as build_published
from cdcd_jax.experiment.load import load
from cdcd_jax.experiment.published import convert_published
from cdcd_jax.experiment.published_images import PUBLISHED_HEADS
from cdcd_jax.interop import (
    clip_text_from_state_dict,
    denoiser_from_reference,
    read_published,
    vqgan_from_state_dict,
)
from cdcd_jax.models import make_denoiser
from cdcd_jax.tasks.drawing import describe_steps
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.task import find_task
from cdcd_jax.visualization.prompts import draw_prompts
from tests.interop.test_state_dict import Global, tensor
from tests.support.hosts import Hosts
from tests.support.ithq_files import make_ithq, text_encoder, write_pipeline
from tests.support.published_files import (
    CASES,
    SMALL_CODEC,
    denoiser_options,
    make_entries,
    make_vqgan,
    template,
    write_checkpoint,
    write_map,
)
from tests.support.quick_compile import quick_environment

ROOT = Path(__file__).parents[2]
IMAGE_SIZE = {"imagenet": 64, "cub200": 32}  # 4x4 tokens of either
USED = [0, 2, 3, 5, 6, 7, 8]
PROMPTS = ["a small red bird", "a gull at sea"]
SAMPLING = {"num_steps": 2, "truncation": 0.86, "top_k": None, "temperature": 1.0}
TEXT_SIZES = {512: 8, 1536: 24, 2048: 32, 49408: 49408, 77: 77}


@pytest.fixture(scope="module")
def merges(tmp_path_factory):
    """Write as many merges as CLIP has: pairs of letters, inside and at the end of words."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    pairs = [f"{a} {b}{end}" for a in letters for b in letters for end in ("", "</w>")]
    path = tmp_path_factory.mktemp("merges") / "bpe.txt.gz"
    path.write_bytes(gzip.compress("\n".join(["#version", *pairs[:NUM_MERGES]]).encode()))
    return path


@pytest.fixture(scope="module", params=CASES)
def published(request, merges, tmp_path_factory):
    """Return the case, a function that loads the checkpoint, its file, entries and the model."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    _, entries = make_entries(name, TEXT_SIZES)
    path = write_checkpoint(folder / "published.pth", entries)
    used_codes = write_map(folder / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    load_it = partial(
        load,
        folder=folder / "converted",
        used_codes=used_codes,
        merges=merges if name == "cub200" else None,
        image_size=IMAGE_SIZE[name],
    )
    return name, load_it, path, entries, load_it(path)


@pytest.mark.slow
def test_samples_are_those_of_the_parts_taken_one_by_one(published, merges, tmp_path):
    name, _, path, _, model = published
    found = read_published(path)
    if name == "imagenet":
        cond = np.array([3, 3], np.int32)
    else:
        clip = make_clip_text(width=8, num_heads=1)
        params = clip_text_from_state_dict(found.condition, template(clip))
        cond = jax.jit(clip.apply)(params, ClipTokenizer(merges)(PROMPTS))
        assert not np.allclose(cond[0], cond[1])
    network = make_denoiser(
        **denoiser_options(name)
        | {"grid": (4, 4), "embedding_grid": (32, 32), "num_heads": PUBLISHED_HEADS}
        | {"unroll": 1}  # compiles faster
    )
    params = denoiser_from_reference(found.denoiser, template(network), prefix="")
    jax.tree.map(np.testing.assert_array_equal, model.params["denoiser"], params)
    denoise = partial(network.apply, params)
    draw = partial(sample, schedule=model.schedule, denoise_fn=denoise, shape=(2, 16), **SAMPLING)
    tokens = np.asarray(jax.jit(draw)(jax.random.key(0), cond=cond))
    assert len(np.unique(tokens)) > 3
    size = IMAGE_SIZE[name]
    sizes = {"image_size": size, "attention_resolutions": (4,)}
    vqgan = make_vqgan(**CASES[name] | SMALL_CODEC | sizes)
    codec = vqgan_from_state_dict(found.codec, template(vqgan))
    assert model.codec.fingerprint == ImageCodec(vqgan, codec, np.array(USED)).fingerprint

    request = 3 if name == "imagenet" else PROMPTS
    found = model.sample(request, num_samples=2, seed=0, output="tokens", **SAMPLING)
    np.testing.assert_array_equal(found, tokens)
    task, path = find_task(model.config), tmp_path / "new" / "a.png"
    drawn = task.show(
        model, find_places(model.config, tmp_path), path, 0, request, num_samples=2, **SAMPLING
    )
    grid = np.asarray(Image.open(drawn), np.float32)
    images = np.asarray(model.codec.decode(tokens))
    if name != "imagenet":
        wanted = draw_prompts(images, np.arange(2), PROMPTS, caption=describe_steps(**SAMPLING))
        np.testing.assert_array_equal(grid, np.asarray(wanted))
        return
    rows, columns = 1, 2
    top = grid.shape[0] - rows * (size + 3)
    assert 0 < top < 40
    for index, image in enumerate(255 * images):
        y = top + index // columns * (size + 3)
        windows = np.lib.stride_tricks.sliding_window_view(grid[y : y + size], size, axis=1)
        differences = np.abs(windows - image.transpose(0, 2, 1)[:, None]).max(axis=(0, 2, 3))
        assert differences.min() < 1


def test_later_loads_read_the_converted_files(published, tmp_path, monkeypatch):
    _, load_it, path, _, model = published
    monkeypatch.setattr(build_published, "open_published", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "cdcd_jax" / name_after_file(path)
    shutil.copytree(load_it.keywords["folder"], cache)
    again = load_it(path, folder=None)  # the user's cache
    assert again.folder == cache
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert again.codec.fingerprint == model.codec.fingerprint
    assert again.codec.vocab_size == 7
    assert again.conditioning.num_classes == model.conditioning.num_classes
    assert type(again.conditioning) is type(model.conditioning)


@pytest.mark.parametrize("published", ["imagenet"], indirect=True)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_codec_may_come_from_a_lightning_checkpoint(published, tmp_path, prefix):
    _, load_it, _, entries, model = published
    start = "content_codec."
    codec = {
        prefix + key.removeprefix(start).partition(".")[2]: array
        for key, array in entries["model"].items()
        if key.startswith(start)
    }
    codec[f"{prefix}loss.logvar"] = np.zeros(1, np.float32)
    score = tensor("FloatStorage", "score", (1,), (1,), 1)
    callbacks = {Global("pytorch_lightning.callbacks", "ModelCheckpoint"): {"best": score}}
    weights = write_checkpoint(tmp_path / "last.ckpt", {"state_dict": codec}, callbacks=callbacks)
    without = {k: v for k, v in entries["model"].items() if not k.startswith(start)}
    bare = write_checkpoint(tmp_path / "bare.pth", {"model": without, "ema": entries["ema"]})
    found = load_it(bare, codec=weights, folder=tmp_path / "converted")
    assert found.codec.fingerprint == model.codec.fingerprint


@pytest.mark.parametrize("published", ["cub200"], indirect=True)
def test_what_has_changed_is_converted_anew(published, tmp_path):
    _, load_it, path, entries, model = published
    bias = "transformer.to_logits.1.bias"
    empty = np.random.default_rng(0).normal(size=(77, 8))
    changed = entries["ema"] | {bias: entries["ema"][bias] + 1, "empty_text_embed": empty}
    other = write_checkpoint(tmp_path / path.name, entries | {"ema": changed})
    os.utime(other, ns=(1, 1))
    folder = shutil.copytree(load_it.keywords["folder"], tmp_path / "converted")
    anew = load_it(other, folder=folder)
    biases = [each.params["denoiser"]["to_logits"]["bias"] for each in (model, anew)]
    np.testing.assert_array_equal(biases[1], biases[0] + 1)
    assert model.model.null is None
    assert anew.model.null is not None
    features = anew.model.null(anew.params, 2)
    np.testing.assert_array_equal(features, [np.float32(empty)] * 2)


@pytest.mark.parametrize("published", ["cub200"], indirect=True)
def test_what_is_damaged_or_missing_is_converted_anew(published, tmp_path, monkeypatch):
    _, load_it, path, _, _ = published
    folder = shutil.copytree(load_it.keywords["folder"], tmp_path / "converted")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        "codec.safetensors", "merges.txt.gz", "model.json", "text.safetensors",
        "weights.safetensors",
    ]  # fmt: skip
    convert = partial(convert_published, path, **load_it.keywords | {"folder": folder})

    class ConversionError(Exception):
        """Raised where a conversion would begin."""

    with monkeypatch.context() as patch:
        patch.setattr(build_published, "read_entries", Mock(side_effect=ConversionError))
        convert()  # nothing is damaged
        for file in files:
            whole = file.read_bytes()
            for damage in (lambda f: f.write_bytes(f.read_bytes()[:-1]), lambda f: f.unlink()):
                damage(file)
                with pytest.raises(ConversionError):
                    convert()
            if file != files[-1]:
                file.write_bytes(whole)
    convert()
    for file in files:
        assert file.stat().st_size == (load_it.keywords["folder"] / file.name).stat().st_size
    (folder / "notes.txt").write_text("somebody's")
    (folder / "model.json").unlink()
    with pytest.raises(
        ValueError, match="converted already exists and is not a converted model; name"
    ):
        load_it(path, folder=folder)
    assert (folder / "notes.txt").read_text() == "somebody's"


def test_a_missing_part_of_the_condition_is_named(published, merges, tmp_path):
    name, load_it, path, _, model = published

    def refused(message, **given):
        asked: dict[str, Any] = {"num_samples": 1} | SAMPLING | given
        with pytest.raises(ValueError, match=message):
            read_request(model, **asked)

    if name == "imagenet":
        refused("this is a model of classes; give --label", prompts=PROMPTS)
        refused(r"label = 11 must be in 0..10", label=11)
    else:
        refused("this is a model of texts; give --prompt instead", label=3)
        refused(r'a model of texts; give --prompt="..."')
        refused("num_samples = 1 must be at least 2, one for each request", prompts=PROMPTS)
        for missing, message in (
            (None, "bpe_merges is not given; name CLIP's file bpe_simple"),
            (tmp_path / "none.gz", "there is no file .*none.gz"),
        ):
            with pytest.raises(ValueError, match=message):
                load_it(path, merges=missing, folder=tmp_path / "new")
    prompts = {} if name == "imagenet" else {"prompts": PROMPTS[:1]}
    refused("num_steps = 6 must be in 1..T = 1..5", **prompts | {"num_steps": 6})


def test_the_last_of_1001_classes_is_the_null_class(tmp_path):
    _, entries = make_entries("imagenet", num_classes=1001)
    path = write_checkpoint(tmp_path / "imagenet_learnable.pth", entries)
    used_codes = write_map(tmp_path / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    folder = tmp_path / "converted"
    model = load(path, used_codes=used_codes, image_size=64, folder=folder)
    assert model.conditioning.num_classes == 1000
    assert model.model.null is not None
    np.testing.assert_array_equal(model.model.null(model.params, 2), [1000, 1000])
    label = np.array([7, 7], np.int32)
    options = SAMPLING | {"num_steps": 1, "truncation": 1.0}

    def denoise(zt, t, cond):
        plain, null = (model.model.denoise(model.params, zt, t, c) for c in (cond, 0 * cond + 1000))
        return jax.nn.log_softmax(null + 1.5 * (plain - null))

    by_hand = sample(jax.random.key(0), model.schedule, denoise, label, shape=(2, 16), **options)
    tokens = model.sample_fn(model.params, jax.random.key(0), label, guidance=1.5, **options)
    np.testing.assert_array_equal(tokens, by_hand)
    drawn = []

    def sample_fn(params, key, cond, **options):
        drawn.extend(cond)
        return np.zeros((len(cond), 16), np.int32)

    spied = replace(model, sample_fn=sample_fn)
    spied.sample(num_samples=1003, guidance=1.5, output="tokens", **SAMPLING)
    assert drawn == [*range(1000), 0, 1, 2]
    with pytest.raises(ValueError, match=r"label = 1000 must be in 0..999"):
        spied.sample(1000)


def test_ithq_is_sampled_from_either_form(merges, tmp_path):
    entries, codec = make_ithq(TEXT_SIZES)
    path = write_checkpoint(tmp_path / "ithq_learnable.pth", entries)
    text = text_encoder(length=77, vocab_size=49408)
    folder = write_pipeline(tmp_path / "vq-diffusion-ithq", entries, codec, text)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "merges.txt").write_bytes(gzip.decompress(merges.read_bytes()))
    # The folder has the byte pairs with it; OpenAI's file has to be named.
    with pytest.raises(ValueError, match="bpe_merges is not given"):
        load(path, image_size=32, folder=tmp_path / "none")
    drawn = []
    for source, given in ((path, merges), (folder, None)):
        place = tmp_path / "converted" / source.stem
        model = load(source, merges=given, image_size=32, folder=place)
        conditioning = model.conditioning
        sizes = (conditioning.num_classes, model.codec.grid, model.schedule.num_steps)
        assert sizes == (0, (4, 4), 5)
        empty = np.float32(entries["ema"]["empty_text_embed"])
        assert model.model.null is not None
        np.testing.assert_array_equal(model.model.null(model.params, 2), [empty, empty])
        drawn.append(model)
    same = np.testing.assert_array_equal
    jax.tree.map(same, drawn[0].params, drawn[1].params)
    assert drawn[0].codec.fingerprint == drawn[1].codec.fingerprint
    asked = {"num_samples": 2, "seed": 0, **SAMPLING, "guidance": 5.0}
    images = drawn[1].sample(PROMPTS, **asked)
    assert images.shape == (2, 32, 32, 3)
    assert len(np.unique(images)) > 2
    used = write_map(tmp_path / "map.pt", 9, USED)
    with pytest.raises(
        ValueError, match=r"knows all 9 codes of its codec; leave --config.codec.us"
    ):
        load(folder, used_codes=used, image_size=32, folder=tmp_path / "c")


@pytest.mark.parametrize("published", ["imagenet"], indirect=True)
def test_files_that_do_not_fit_are_named(published, tmp_path):
    _, load_it, path, entries, _ = published

    def refused(message, path=path, **given):
        with pytest.raises(ValueError, match=message):
            load_it(path, **{"used_codes": None, "folder": tmp_path / "new"} | given)
        assert not (tmp_path / "new").exists()

    refused(
        r"published.pth knows 7 codes, but 9 are in use; give the published map to the codes in "
        r"use, --config.codec.used_codes=taming_vqvae_7.pt"
    )
    refused("none.pth is not there; give the folder of a run", tmp_path / "none.pth")
    refused("there is no file .*none.pt", used_codes=tmp_path / "none.pt")
    without = {k: v for k, v in entries["model"].items() if k.startswith("transformer.")}
    bare = write_checkpoint(tmp_path / "bare.pth", entries | {"model": without})
    refused(r"bare.pth holds no codec; name its file, --config.codec.weights=FILE", bare)
    refused("holds no VQGAN of taming", bare, codec=bare)
    free = {
        entry: {k: v for k, v in arrays.items() if ".ln2.emb." not in k and ".attn2.key." not in k}
        for entry, arrays in entries.items()
    }
    refused("free.pth is a model without a con", write_checkpoint(tmp_path / "free.pth", free))


@pytest.mark.slow
def test_one_command_samples_a_class(fork_server, tmp_path):
    _, entries = make_entries("imagenet", num_classes=1001)
    path = write_checkpoint(tmp_path / "published.pth", entries)
    used_codes = write_map(tmp_path / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    arguments = ["--config=configs/imagenet_vanilla.py", f"--workdir={tmp_path / 'run'}"]
    arguments += ["--mode=sample", f"--reference_checkpoint={path}", "--label=7"]
    arguments += ["--guidance=1.5", "--trajectory"]
    arguments += [f"--config.codec.used_codes={used_codes}"]
    arguments += ["--num_samples=2", "--num_steps=2", "--config.codec.batch_size=2"]
    environment = os.environ | quick_environment()
    done = fork_server.popen(arguments, env=environment, stdout=tmp_path / "output.txt")
    output = done.finish()
    assert done.returncode == 0, output
    name = "published-*-seed0-*guidance1.5*label7.png"
    (image,) = (tmp_path / "run" / "samples").glob(name)
    assert f"Samples: {image}" in output
    assert f"Trajectory: {image.with_name(image.stem + '-trajectory.png')}" in output
    width, height = Image.open(image).size
    assert width >= 2 * 256
    assert height >= 256


@pytest.mark.slow
def test_two_hosts_convert_once_and_end_alike(tmp_path):
    _, entries = make_entries("imagenet", num_classes=1001)
    path = write_checkpoint(tmp_path / "published.pth", entries)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    used_codes = write_map(tmp_path / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    command = [None, "--config=configs/imagenet_vanilla.py", "--mode=sample"]
    command += [f"--config.codec.used_codes={used_codes}", "--label=7", "--config.mesh.data=2"]
    command += ["--num_samples=2", "--num_steps=2", "--config.codec.batch_size=2"]
    for name, codes in (("cut", {0: 2, 1: 2}), ("published", {0: 0, 1: 0})):
        workdir = tmp_path / f"run_{name}"
        flags = [f"--reference_checkpoint={tmp_path / name}.pth", f"--workdir={workdir}"]
        with Hosts([*command, *flags], tmp_path / name) as hosts:
            assert hosts.wait(300) == codes, hosts.outputs()
            if name == "cut":
                assert "cut.pth is not a complete PyTorch zip checkpoint" in hosts.output(0)
                assert f"converting {cut} failed; host 0 says why" in hosts.last_line(1)
                assert not workdir.exists()
            else:
                assert f"Converted {path}" in hosts.output(0)
                assert "Converted" not in hosts.output(1)
                assert len([*(workdir / "samples").glob("published-*.png")]) == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"mode": "train"},
            "reference_checkpoint is not read by --mode=train: add --mode=sample or --mode=eval",
        ),
        (
            {"reference_checkpoint": None, "prompt": ["a"]},
            "prompt is not read by --mode=train: it is for samples",
        ),
        (
            {"reference_checkpoint": None, "bpe_merges": "a", "mode": "sample"},
            "bpe_merges needs --",
        ),
    ],
)
def test_flags_that_nothing_would_read_are_refused(given, sentence):
    FLAGS.mark_as_parsed()
    flags = {"reference_checkpoint": "published.pth"} | given
    with flagsaver.flagsaver(**flags), pytest.raises(ValueError, match=re.escape(sentence)):
        check_flags()
