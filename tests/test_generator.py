"""A trained model as a value, on weights that are drawn."""

import functools
import importlib
import json
import re
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import cdcd_jax as cdcd
from cdcd_jax.codecs.codec_file import write_arrays
from cdcd_jax.data.toy.digits import load_digits
from cdcd_jax.experiment.model_folder import read_model, save_model
from cdcd_jax.training.checkpoints.folder import CheckpointError
from cdcd_jax.training.exported import WEIGHTS, WEIGHTS_FORMAT
from tests.support.small_digits import save_small_digits

SAMPLING = {"num_steps": 2, "truncation": 0.9}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Build a small model of digits, and write its description."""
    folder = tmp_path_factory.mktemp("run")
    built, params = save_small_digits(folder)
    return built, built.generator(params), folder


@pytest.fixture(scope="module")
def loaded(experiment):
    return cdcd.load(experiment[2])


def test_a_folder_gives_the_model_that_was_trained(experiment, loaded):
    _, trained, folder = experiment
    assert repr(loaded) == (
        f"Generator({str(folder / 'model')!r}, of 10 classes, 8 x 8 tokens of 17, 4 steps)"
    )
    for request in (3, [3, 5, "7"], None):
        tokens = trained.sample(request, num_samples=6, seed=2, output="tokens", **SAMPLING)
        again = loaded.sample(request, num_samples=6, seed=2, output="tokens", **SAMPLING)
        np.testing.assert_array_equal(again, tokens)
    images = loaded.sample([3], num_samples=2, seed=2, **SAMPLING)
    assert images.shape == (2, 8, 8)
    drawn = loaded.sample([3], num_samples=2, seed=2, output="pil", **SAMPLING)
    np.testing.assert_array_equal(drawn[1], np.round(255 * images[1]).astype(np.uint8))
    assert len(loaded.sample(**SAMPLING)) == 10  # one of each class
    test = load_digits("test")
    images = loaded.decode(test.tokens[:3])
    np.testing.assert_array_equal(loaded.encode(images), test.tokens[:3])
    bits = loaded.bits_per_token(images, test.cond[:3].tolist(), seed=4)
    np.testing.assert_array_equal(bits, trained.bits_per_token(images, test.cond[:3], seed=4))
    nats = trained.bound(jax.random.key(4), test.tokens[:3], test.cond[:3])
    np.testing.assert_allclose(bits * 64 * np.log(2), nats, rtol=1e-6)
    zt, t = test.tokens[:3], np.array([1, 2, 4])
    logits = loaded.denoise_fn(zt, t, loaded.features(test.cond[:3]))
    assert logits.shape == (3, 64, 17)


def test_samplers_are_given_by_name_with_their_options(loaded):
    draw = functools.partial(loaded.sample, [3], num_samples=2, output="tokens")
    named = draw(sampler="confidence", choice_temperature=0.5, corrector="gibbs", num_masked=4)
    parts = {"sampler": cdcd.samplers.Confidence(0.5), "corrector": cdcd.samplers.Gibbs(4)}
    np.testing.assert_array_equal(named, draw(**parts))
    assert draw(sampler="first_hitting", ignore_uniform=True, num_steps=4).max() < 17
    assert not np.array_equal(draw(times=(4, 1, 0), num_steps=2), draw(num_steps=2))
    for options, message in (
        ({"choice_temperature": 0.5}, "choice_temperature is not an option of sampling"),
        ({"sampler": "confidense"}, 'sampler = "confidense" is not a sampler: did you mean conf'),
        ({"sampler": "confidence", "choice_temperature": "x"}, "choice_temperature must be a num"),
        ({"sampler": "first_hitting"}, "needs noise that only absorbs"),
        ({"times": (4, 4, 0)}, "times must fall"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(**options)


def test_an_exported_model_needs_no_run(loaded, tmp_path):
    exported = cdcd.load(loaded.export(tmp_path / "exported"))
    tokens = [each.sample(1, output="tokens", **SAMPLING) for each in (loaded, exported)]
    np.testing.assert_array_equal(*tokens)
    for path, message in {
        tmp_path / "exported": "exported already exists; name another folder",
        "gs://bucket/x": "is not a path of a file system",
        loaded.folder / "sub": "is in the folder of the model itself",
    }.items():
        with pytest.raises(ValueError, match=message):
            loaded.export(path)


def test_what_is_not_in_memory_only_is_exported(experiment, tmp_path):
    with pytest.raises(ValueError, match="is in memory only"):
        experiment[1].export(tmp_path / "exported")


@pytest.mark.parametrize(
    ("request_", "options", "message"),
    [
        (10, {}, "request: label = 10 must be in 0..9"),
        ("ten", {}, "request: 'ten' is not a class; give its number or its name"),
        (True, {}, "request: True is not a class"),
        (3, {"num_steps": 5}, "num_steps = 5 must be in 1..T = 1..4"),
        (3, {"num_samples": 0}, "num_samples = 0 must be a whole number, 1..10000"),
        (3, {"num_samples": 10**9}, "num_samples = 1000000000 must be a whole number, 1..10000"),
        ([3, 5], {"num_samples": 1}, "num_samples = 1 must be at least 2, one for each request"),
        ([], {}, "request: an empty list is not a class"),
        (b"\x03", {}, "is not a class; give its number or its name"),
        (np.array(11), {}, "request: label = 11 must be in 0..9"),
        (3, {"seed": -1}, "seed = -1 must be a whole number, 0..4294967295"),
        (3, {"seed": 2**32}, "seed = 4294967296 must be a whole number, 0..4294967295"),
        (3, {"truncation": "0.8"}, "truncation = '0.8' must be a number"),
        (3, {"num_steps": 2.5}, "num_steps = 2.5 must be a whole number"),
        (3, {"truncation": 0}, "truncation must be in (0, 1], got 0"),
        (
            3,
            {"steps": 5},
            'steps is not an option of sampling with sampler = "ancestral": did you mean num_steps',
        ),
        (3, {"output": "jpeg"}, "output = 'jpeg' must be 'data', 'pil' or 'tokens'"),
    ],
)
def test_a_wrong_request_is_named(loaded, request_, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        loaded.sample(request_, **options)


def test_one_request_for_each_example(loaded):
    images = loaded.decode(load_digits("test").tokens[:3])
    with pytest.raises(ValueError, match="2 are given for 3 examples; give one for each"):
        loaded.bits_per_token(images, [1, 2])


def test_data_and_tokens_are_checked(loaded):
    tokens = load_digits("test").tokens[:2]
    images = loaded.decode(tokens)
    np.testing.assert_array_equal(loaded.encode(np.uint8(np.round(images * 255))), tokens)
    for bad, message in (
        (images * 255, "data holds values 0..255; images have 0..1, or bytes"),
        (images * np.nan, "data holds a value that is not finite"),
        (images[0, 0], "a single one needs a first axis"),
        (images[:0], "data must be a batch of images"),
        ("x.png", "data must be a batch of images"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            loaded.encode(bad)
    for bad in (tokens + 17, tokens - 18, tokens[0], tokens + 0.5):
        with pytest.raises(ValueError, match=r"tokens"):
            loaded.decode(bad)
    with pytest.raises(ValueError, match="request: none is given; give one for each example"):
        loaded.bits_per_token(images)


def change(described, path, value):
    *above, last = path.split(".")
    for name in above:
        described = described[name]
    if value is None:
        del described[last]
    else:
        described[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("config", None), ("facts", None), ("facts.class_names", None), ("config.codec", None)),
        *(("config.schedule", 3), ("config.condition.kind", "x"), ("config.codec.grid", "8x8")),
        *(("facts.test_texts", "abc"), ("config.sample.num_steps", -1)),
        *(("config.denoiser.num_heads", "two"), ("config.denoiser.width", 0)),
        *(("config.schedule.num_steps", 1e300), ("config.sample", None)),
        *(("config.sample.truncation", "x"), ("config.codec.grid", [0, 8])),
    ],
)
def test_a_damaged_description_is_named(experiment, tmp_path, path, value):
    folder = shutil.copytree(experiment[2], tmp_path / "run")
    file = folder / "model" / "model.json"
    described = json.loads(file.read_text())
    change(described, path, value)
    file.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=re.escape(str(file))):
        cdcd.load(folder)


def test_a_model_loads_without_what_only_its_training_needed(experiment, tmp_path):
    folder = shutil.copytree(experiment[2], tmp_path / "run")
    file = folder / "model" / "model.json"
    described = json.loads(file.read_text())
    change(described, "config.data.name", "registered_elsewhere")
    change(described, "config.optimizer", None)
    file.write_text(json.dumps(described))
    assert cdcd.load(folder).sample(3, num_steps=1).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("changed", "metadata", "message"),
    [
        (lambda x: x, {"format": "9"}, "is not of the format"),
        (lambda x: x.astype(np.int32), {"format": WEIGHTS_FORMAT}, "as int32, and weights are"),
        (lambda x: x * np.float32(np.nan), {"format": WEIGHTS_FORMAT}, "are NaN or infinite"),
        (lambda x: x[..., :1], {"format": WEIGHTS_FORMAT}, "does not fit its own options"),
    ],
)
def test_weights_of_another_kind_are_named(experiment, tmp_path, changed, metadata, message):
    folder = shutil.copytree(experiment[2], tmp_path / "run")
    file = folder / "model" / WEIGHTS
    write_arrays(file, {k: changed(x) for k, x in load_file(file).items()}, metadata)
    with pytest.raises(ValueError, match=message):
        cdcd.load(folder)


def test_a_folder_that_is_no_model_is_named(experiment, tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        read_model(tmp_path)
    (tmp_path / "model.json").write_text('{"format": "another"}')
    with pytest.raises(ValueError, match=r"model.json is not of the format"):
        read_model(tmp_path)


def test_what_is_no_folder_is_named(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"x")
    for name, message in {
        "a.pth": "a.pth is not a checkpoint of PyTorch: it begins with",
        "b": "b is not there; give the folder of a run",
    }.items():
        with pytest.raises(ValueError, match=message):
            cdcd.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"merges and folder are for published checkpoints, leave"):
        cdcd.load(tmp_path, folder=tmp_path / "c")


def test_the_same_description_is_not_written_again(experiment, tmp_path):
    built, _, folder = experiment
    file = folder / "model" / "model.json"
    before = file.stat().st_mtime_ns
    config = importlib.import_module("configs.digits_vanilla").get_config("smoke")
    save_model(built, config, folder)
    assert file.stat().st_mtime_ns == before


def test_a_negative_request_is_the_other_end_of_guidance(loaded):
    # Weights far from the first ones, with which no condition has an effect.
    keys = iter(jax.random.split(jax.random.key(0), 100))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), loaded.params)
    loaded = loaded.with_params(params)
    other = loaded.sample(5, num_samples=4, seed=3, output="tokens", **SAMPLING)
    same = loaded.sample(
        3, negative=5, guidance=0.0, num_samples=4, seed=3, output="tokens", **SAMPLING
    )
    np.testing.assert_array_equal(same, other)
    plain = loaded.sample(3, num_samples=4, seed=3, output="tokens", **SAMPLING)
    assert np.any(plain != other)
    with pytest.raises(ValueError, match="negative has no effect with a guidance of 1"):
        loaded.sample(3, negative=5, **SAMPLING)
    away = loaded.sample(
        3, negative=[5, 5, 1, 1], guidance=3.0, num_samples=4, seed=3, output="tokens", **SAMPLING
    )
    assert np.any(away != plain)
    with pytest.raises(ValueError, match=r"guidance = 3\.0 needs a model that was trained without"):
        loaded.sample(3, guidance=3.0)
    dealt = loaded.sample(
        3, negative=[5, 1], guidance=3.0, num_samples=4, seed=3, output="tokens", **SAMPLING
    )
    np.testing.assert_array_equal(dealt[[0, 3]], away[[0, 3]])
    with pytest.raises(ValueError, match="negative: label = 11 must be in"):
        loaded.sample(3, negative=11, guidance=3.0)


def test_whole_numbers_are_tokens_already(loaded):
    tokens = np.arange(128).reshape(2, 64) % 16
    np.testing.assert_array_equal(loaded.encode(tokens.astype(np.uint8)), tokens)
    assert np.isfinite(loaded.bits_per_token(tokens, 3)).all()
    with pytest.raises(ValueError, match="17"):
        loaded.encode(tokens + 2)


def test_numbers_may_change_from_step_to_step(loaded):
    given = {"num_samples": 4, "seed": 3, "output": "tokens", "num_steps": 2}
    plain = loaded.sample(3, temperature=0.7, truncation=0.8, **given)
    level = cdcd.Ramp(0.8, 0.8)
    same = loaded.sample(3, temperature=cdcd.Ramp(0.7, 0.7), truncation=level, **given)
    np.testing.assert_array_equal(same, plain)
    with pytest.raises(ValueError, match=r"truncation must be in \(0, 1\], got 1\.5"):
        loaded.sample(3, truncation=cdcd.Ramp(0.8, 1.5), **given)


def test_a_rule_that_needs_the_grid_has_that_of_the_codec(loaded):
    given = {"num_samples": 4, "seed": 3, "output": "tokens", "num_steps": 2}
    tokens = loaded.sample(3, sampler="halton", **given)
    same = loaded.sample(3, sampler="halton", grid=(8, 8), **given)
    np.testing.assert_array_equal(tokens, same)
    with pytest.raises(ValueError, match=r"grid = \(4, 8\) has 32 positions"):
        loaded.sample(3, sampler="halton", grid=(4, 8), **given)
