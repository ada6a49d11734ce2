"""Files with all names of the published ones are converted, loaded and sampled."""

import gzip
import os
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from cdcd_jax.cli.drawing import describe_steps
from cdcd_jax.cli.flag_checks import check_flags
from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.cli.published import sample_published
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.conditioning.clip_bpe import NUM_MERGES, ClipTokenizer
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.diffusion.sampler import sample
from cdcd_jax.experiment import published as build_published
from cdcd_jax.experiment.published import PUBLISHED_HEADS, load_published
from cdcd_jax.interop import (
    clip_text_from_state_dict,
    denoiser_from_reference,
    read_published,
    vqgan_from_state_dict,
)
from cdcd_jax.models import make_denoiser
from cdcd_jax.visualization.prompts import draw_prompts
from configs import imagenet_vanilla
from tests.interop.test_state_dict import Global, tensor
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
def published(request, tmp_path_factory):
    """Return the case, a function that loads the checkpoint, its file, entries and the model."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    _, entries = make_entries(name, TEXT_SIZES)
    path = write_checkpoint(folder / "published.pth", entries)
    used_codes = write_map(folder / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    load = partial(
        load_published,
        make_config(used_codes=str(used_codes)),
        folder=folder / "converted",
        image_size=IMAGE_SIZE[name],
    )
    return name, load, path, entries, load(path)


def make_config(**codec):
    config = imagenet_vanilla.get_config("smoke")
    config.codec.update(batch_size=2, **codec)
    return config


@pytest.mark.quick_compilation
@pytest.mark.slow
def test_samples_are_those_of_the_parts_taken_one_by_one(published, merges, tmp_path):
    name, _, path, _, model = published
    found = read_published(path)
    asked = {"label": 3} if name == "imagenet" else {"prompts": PROMPTS, "merges_file": str(merges)}
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
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    denoise = partial(network.apply, params)
    draw = partial(sample, schedule=model.schedule, denoise_fn=denoise, shape=(2, 16), **SAMPLING)
    tokens = np.asarray(jax.jit(draw)(jax.random.key(0), cond=cond))
    assert len(np.unique(tokens)) > 3
    size = IMAGE_SIZE[name]
    sizes = {"image_size": size, "attention_resolutions": (4,)}
    vqgan = make_vqgan(**CASES[name] | SMALL_CODEC | sizes)
    codec = vqgan_from_state_dict(found.codec, template(vqgan))
    assert model.codec.fingerprint == ImageCodec(vqgan, codec, np.array(USED)).fingerprint

    def sample_fn(params, key, given, **options):
        np.testing.assert_allclose(given, cond, atol=1e-6)
        found = model.sample_fn(params, key, given, **options)
        np.testing.assert_array_equal(found, tokens)
        return found

    drawn = sample_published(
        replace(model, sample_fn=sample_fn),
        tmp_path / "new" / "a.png",
        seed=0,
        num_samples=2,
        **asked,
        **SAMPLING,
    )
    picture = np.asarray(Image.open(drawn), np.float32)
    images = np.asarray(model.codec.decode(tokens))
    if name != "imagenet":
        wanted = draw_prompts(images, np.arange(2), PROMPTS, caption=describe_steps(**SAMPLING))
        np.testing.assert_array_equal(picture, np.asarray(wanted))
        return
    rows, columns = 1, 2
    top = picture.shape[0] - rows * (size + 3)
    assert 0 < top < 40
    for index, image in enumerate(255 * images):
        y = top + index // columns * (size + 3)
        windows = np.lib.stride_tricks.sliding_window_view(picture[y : y + size], size, axis=1)
        differences = np.abs(windows - image.transpose(0, 2, 1)[:, None]).max(axis=(0, 2, 3))
        assert differences.min() < 1


def test_later_loads_read_the_converted_files(published, monkeypatch):
    _, load, path, _, model = published
    monkeypatch.setattr(build_published, "read_published", None)
    again = load(path)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert again.codec.fingerprint == model.codec.fingerprint
    assert again.codec.vocab_size == 7
    assert again.num_classes == model.num_classes
    assert (again.encode_text is None) == (model.encode_text is None)


@pytest.mark.parametrize("published", ["imagenet"], indirect=True)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_codec_may_come_from_a_lightning_checkpoint(published, tmp_path, prefix):
    _, load, _, entries, model = published
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
    config = make_config(weights=str(weights), used_codes=load.args[0].codec.used_codes)
    found = load_published(config, bare, tmp_path / "converted", image_size=64)
    assert found.codec.fingerprint == model.codec.fingerprint


@pytest.mark.parametrize("published", ["cub200"], indirect=True)
def test_what_has_changed_is_converted_anew(published, tmp_path):
    _, load, path, entries, model = published
    bias = "transformer.to_logits.1.bias"
    empty = np.random.default_rng(0).normal(size=(77, 8))
    changed = entries["ema"] | {bias: entries["ema"][bias] + 1, "empty_text_embed": empty}
    other = write_checkpoint(tmp_path / path.name, entries | {"ema": changed})
    os.utime(other, ns=(1, 1))
    folder = shutil.copytree(load.keywords["folder"], tmp_path / "converted")
    anew = load(other, folder=folder)
    biases = (model.params["to_logits"]["bias"], anew.params["to_logits"]["bias"])
    np.testing.assert_array_equal(biases[1], biases[0] + 1)
    assert model.model.null is None
    np.testing.assert_array_equal(anew.model.null({}, 2), np.float32([empty, empty]))
    for file in ("codec.safetensors", "text.safetensors"):
        (folder / file).unlink()
        load(other, folder=folder)
        assert (folder / file).is_file()


@pytest.mark.parametrize("published", ["cub200"], indirect=True)
def test_a_damaged_converted_file_is_named(published, tmp_path):
    _, load, path, _, _ = published
    folder = shutil.copytree(load.keywords["folder"], tmp_path / "converted")
    for file in folder.iterdir():
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        message = rf"{file.name} is damaged \(.*\); remove it to convert the checkpoint anew"
        with pytest.raises(ValueError, match=message):
            load(path, folder=folder)
        file.write_bytes(whole)


def test_what_the_model_needs_is_asked_for(published, merges, tmp_path):
    name, _, _, _, model = published

    def refused(message, error: type[Exception] = ValueError, **asked):
        with pytest.raises(error, match=message):
            sample_published(model, tmp_path / "a.png", seed=0, num_samples=1, **SAMPLING | asked)

    if name == "imagenet":
        refused("the checkpoint is a model of classes; give --label", prompts=PROMPTS)
        refused(r"label = 11 must lie in 0..10", label=11)
    else:
        refused("the checkpoint is a model of texts; give --prompt instead", label=3)
        refused(r'a model of texts; give --prompt="..."')
        refused("num_samples = 1 must be at least 2, one for each prompt", prompts=PROMPTS)
        refused("bpe_merges is not given; name CLIP's file bpe_simple", prompts=PROMPTS[:1])
        missing = {"prompts": PROMPTS[:1], "merges_file": str(tmp_path / "none.gz")}
        refused(r"none.gz; give CLIP's merges", FileNotFoundError, **missing)
    refused(
        "num_steps = 6 must lie in 1..T = 1..5",
        num_steps=6,
        label=None,
        **({} if name == "imagenet" else {"prompts": PROMPTS[:1], "merges_file": str(merges)}),
    )


def test_the_last_of_1001_classes_stands_for_no_class(tmp_path, monkeypatch):
    _, entries = make_entries("imagenet", num_classes=1001)
    path = write_checkpoint(tmp_path / "imagenet_learnable.pth", entries)
    used_codes = write_map(tmp_path / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    config = make_config(used_codes=str(used_codes))
    model = load_published(config, path, tmp_path / "converted", image_size=64)
    assert model.num_classes == 1000
    np.testing.assert_array_equal(model.model.null({}, 2), [1000, 1000])
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

    spied, target = replace(model, sample_fn=sample_fn), tmp_path / "a.png"
    options = {"seed": 0, "num_samples": 1003, "guidance": 1.5, **SAMPLING}
    monkeypatch.setattr(ImageCodec, "decode", lambda self, tokens: np.zeros((1003, 2, 2, 3)))
    sample_published(spied, target, **options)
    assert drawn == [*range(1000), 0, 1, 2]
    with pytest.raises(ValueError, match=r"label = 1000 must lie in 0..999"):
        sample_published(spied, target, label=1000, **options)


def test_ithq_is_sampled_from_either_form(merges, tmp_path):
    entries, codec = make_ithq(TEXT_SIZES)
    path = write_checkpoint(tmp_path / "ithq_learnable.pth", entries)
    text = text_encoder(length=77, vocab_size=49408)
    folder = write_pipeline(tmp_path / "vq-diffusion-ithq", entries, codec, text)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "merges.txt").write_bytes(gzip.decompress(merges.read_bytes()))
    asked = {"seed": 0, "num_samples": 2, "prompts": PROMPTS, **SAMPLING, "guidance": 5.0}
    drawn = []
    for source in (path, folder):
        model = load_published(make_config(), source, tmp_path / source.stem, image_size=32)
        assert (model.num_classes, model.codec.grid, model.schedule.num_steps) == (0, (4, 4), 5)
        empty = np.float32(entries["ema"]["empty_text_embed"])
        np.testing.assert_array_equal(model.model.null({}, 2), [empty, empty])
        drawn.append(model)
    same = np.testing.assert_array_equal
    jax.tree.map(same, drawn[0].params, drawn[1].params)
    assert drawn[0].codec.fingerprint == drawn[1].codec.fingerprint
    # The folder has the byte pairs with it; OpenAI's file has to be named.
    picture = sample_published(drawn[1], tmp_path / "a.png", **asked)
    assert Image.open(picture).size[0] > 32
    with pytest.raises(ValueError, match="bpe_merges is not given"):
        sample_published(drawn[0], tmp_path / "b.png", **asked)
    used = write_map(tmp_path / "map.pt", 9, USED)
    with pytest.raises(
        ValueError, match=r"knows all 9 codes of its codec; leave --config.codec.us"
    ):
        load_published(make_config(used_codes=str(used)), folder, tmp_path / "c", image_size=32)


def test_files_that_do_not_fit_are_named(published, tmp_path):
    name, _, path, entries, _ = published
    size = IMAGE_SIZE[name]

    def refused(message, path=path, config=None):
        with pytest.raises(ValueError, match=message):
            load_published(config or make_config(), path, tmp_path / "new", image_size=size)
        assert not (tmp_path / "new").exists()

    refused(
        r"published.pth knows 7 codes, but 9 are in use; give the published map to the codes in "
        r"use, --config.codec.used_codes=taming_vqvae_7.pt"
    )
    refused("there is no file .*none.pth", tmp_path / "none.pth")
    refused("there is no file .*none.pt", config=make_config(used_codes=str(tmp_path / "none.pt")))
    without = {k: v for k, v in entries["model"].items() if k.startswith("transformer.")}
    bare = write_checkpoint(tmp_path / "bare.pth", entries | {"model": without})
    refused(r"bare.pth holds no codec; name its file, --config.codec.weights=FILE", bare)
    refused("holds no VQGAN of taming", bare, make_config(weights=str(bare)))
    free = {
        entry: {k: v for k, v in arrays.items() if ".ln2.emb." not in k and ".attn2.key." not in k}
        for entry, arrays in entries.items()
    }
    refused("free.pth is a model without a con", write_checkpoint(tmp_path / "free.pth", free))
    pixels = make_config()
    pixels.codec.name = "pixels"
    refused(r'codec.name = "pixels" must be "vqgan" for a published', config=pixels)


@pytest.mark.slow
def test_one_command_samples_a_class(fork_server, tmp_path):
    _, entries = make_entries("imagenet", num_classes=1001)
    path = write_checkpoint(tmp_path / "published.pth", entries)
    used_codes = write_map(tmp_path / "taming_vqvae_7.pt", SMALL_CODEC["num_codes"], USED)
    arguments = ["--config=configs/imagenet_vanilla.py", f"--workdir={tmp_path / 'run'}"]
    arguments += ["--mode=sample", f"--reference_checkpoint={path}", "--label=7"]
    arguments += ["--guidance=1.5"]
    arguments += [f"--config.codec.used_codes={used_codes}"]
    arguments += ["--num_samples=2", "--num_steps=2", "--config.codec.batch_size=2"]
    environment = dict(os.environ, XLA_FLAGS="", JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    done = fork_server.popen(arguments, env=environment, stdout=tmp_path / "output.txt")
    output = done.finish()
    assert done.returncode == 0, output
    (picture,) = (tmp_path / "run" / "samples").glob("published-*-seed0-*guidance1.5*label7*.png")
    assert str(picture) in output
    width, height = Image.open(picture).size
    assert width >= 2 * 256
    assert height >= 256


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"mode": "train"},
            "reference_checkpoint is not read by --mode=train: add --mode=sample or --mode=eval",
        ),
        ({"mode": "sample", "trajectory": True}, "trajectory is not read with --reference_checkp"),
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
