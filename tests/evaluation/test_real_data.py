"""Real images, their cached statistics, and what is scored when there are weights or none."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.evaluation.batches import own_share
from cdcd_jax.evaluation.evaluate import evaluate
from cdcd_jax.evaluation.metrics import pretrained
from cdcd_jax.evaluation.metrics.images.frechet import Moments
from cdcd_jax.evaluation.metrics.images.real_images import RealImages, raw_images
from cdcd_jax.evaluation.metrics.images.reference import Reference, load_reference
from cdcd_jax.evaluation.metrics.pretrained import (
    load_resnet,
    make_image_metrics,
    missing_weights,
)
from cdcd_jax.evaluation.table import format_table
from cdcd_jax.interop.stored import read_floats
from cdcd_jax.models.features.inception import InceptionOutputs
from cdcd_jax.models.features.layers import FrozenNetwork

COLOURS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)
REFERENCE = Reference(Moments(3, np.arange(2.0), np.eye(2)), np.ones((3, 2), np.float32))


def photograph(label, seed):
    noise = np.random.default_rng(seed).integers(-25, 25, (16, 20, 3))
    pixels = np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def photographs(name, count):
    labels = [index % 3 for index in range(count)]
    images = [photograph(label, index) for index, label in enumerate(labels)]
    return ImageBytes(name, images, labels, ["red", "green", "blue"])


TRAIN, TEST = photographs("train", 30), photographs("test", 12)


def test_images_are_spread_over_the_source_and_cropped():
    images = RealImages(TEST, image_size=8, limit=5)
    batches = list(images.batches(2, progress=False))
    assert [batch.shape for batch, _ in batches] == [(2, 8, 8, 3), (2, 8, 8, 3), (1, 8, 8, 3)]
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.tolist() == [index % 3 for index in (0, 3, 6, 8, 11)]
    means = np.concatenate([batch.mean(axis=(1, 2)) for batch, _ in batches])
    assert np.abs(means - COLOURS[labels]).max() < 15
    assert len(images) == 5
    other = {
        RealImages(source, image_size=size, limit=limit).fingerprint
        for source in (TRAIN, TEST)
        for size in (8, 16)
        for limit in (5, 6)
    }
    assert len(other) == 8
    with pytest.raises(ValueError, match="at least 1, got 0 and 8"):
        RealImages(TEST, image_size=8, limit=0)


def test_reference_statistics_are_computed_once(tmp_path):
    path, calls = tmp_path / "new" / "reference.npz", []

    def compute(images):
        calls.append(images)
        return REFERENCE

    real = RealImages(TEST, image_size=8, limit=5)
    first = load_reference(path, "these images", real, compute)
    again = load_reference(path, "these images", real, compute)
    assert calls == [real]
    jax.tree.map(np.testing.assert_array_equal, again, first)
    assert [file.name for file in path.parent.iterdir()] == ["reference.npz"]
    with pytest.raises(ValueError, match='of "these images", but those of "others" are needed'):
        load_reference(path, "others", real, compute)
    # A file of version 0.1 lacks the features; it is our own, and is written anew.
    arrays = REFERENCE.gaussian._asdict()
    np.savez(path, fingerprint="these images", **arrays)
    assert load_reference(path, "these images", real, compute).features is not None
    assert len(calls) == 2
    load_reference(path, "these images", real, compute)
    assert len(calls) == 2
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"reference.npz is not a complete npz archive"):
        load_reference(path, "these images", real, compute)


class ColourCodec:
    """Three tokens, a colour each."""

    vocab_size = 4

    def decode(self, tokens):
        colours = np.concatenate([COLOURS, COLOURS[:1]]) / np.float32(255)
        return np.broadcast_to(colours[tokens[:, :1, None]], (len(tokens), 8, 8, 3))


def tokens_of(source):
    labels = np.array([source[index].label for index in range(len(source))])
    tokens = np.repeat(labels[:, None], 4, axis=1).astype(np.int32)
    return TokenExamples(tokens=tokens, cond=labels, group=labels)


def small_inception(params, images):
    """Give ten features and eleven logits without the large network."""
    features = jnp.tile(params["scale"][None] * images[:, 0, 0, :1], (1, 2048))
    return InceptionOutputs(features, features[:, :1008], features[:, :1008])


def test_the_inception_distance_with_weights_and_its_cache(tmp_path, monkeypatch):
    network = FrozenNetwork(lambda key: {"scale": jnp.ones(1)}, small_inception)
    monkeypatch.setattr(pretrained, "make_inception", lambda: network)
    monkeypatch.setattr(
        pretrained.inception_names,
        "inception_from_torch",
        lambda state, layout: {"scale": read_floats(state, "scale")},
    )
    weights, cache = tmp_path / "weights.npz", tmp_path / "reference.npz"
    np.savez(weights, scale=np.ones(1, np.float32))
    options = {"vocab_size": 4, "num_classes": 3, "inception_weights": str(weights)}
    options |= {"reference": cache, "batch_size": 8, "progress": False}
    images = RealImages(TRAIN, image_size=8, limit=100)
    *_, metric = make_image_metrics(images, **options)
    before = cache.stat().st_mtime_ns
    *_, metric = make_image_metrics(images, **options)
    assert cache.stat().st_mtime_ns == before
    state = metric.init(own_share(30, 9))
    for batch, labels in images.batches(9, progress=False):
        state = metric.update(state, metric.extract(batch / np.float32(255)), labels)
    with np.load(cache) as kept:
        np.testing.assert_allclose(state.moments.mean, kept["mean"], rtol=1e-6)
        np.testing.assert_allclose(state.moments.scatter, kept["scatter"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"30 of train .* but those of .*12 of test"):
        make_image_metrics(RealImages(TEST, image_size=8, limit=100), **options)
    np.savez(weights, scale=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"holds the reference statistics of"):
        make_image_metrics(images, **options)


@pytest.fixture
def metrics():
    images = RealImages(TRAIN, image_size=8, limit=100)
    return make_image_metrics(images, vocab_size=4, num_classes=3, progress=False)


def score(metrics, **more):
    return evaluate(
        jax.random.key(0),
        bound_fn=lambda key, z0, cond: np.ones(len(z0)),
        sample_fn=lambda key, labels, *_: np.repeat(labels[:, None], 4, axis=1).astype(np.int32),
        metrics=metrics,
        train=tokens_of(TRAIN),
        test=tokens_of(TEST),
        num_samples=30,
        num_steps=(5,),
        truncations=(1.0,),
        batch_size=7,
        progress=False,
        **more,
    )


def test_real_images_have_rows_of_their_own_and_no_tokens(metrics):
    test_images = RealImages(TEST, image_size=8, limit=100)
    options = {"decode_fn": ColourCodec().decode, "raw": raw_images(test_images)}
    result = json.loads(json.dumps(score(metrics, **options)))
    raw, coded, samples, shuffled = result["rows"]
    assert [row["name"] for row in result["rows"]] == [
        "real test images", "real, through the codec", "samples", "samples, labels shuffled",
    ]  # fmt: skip
    assert (raw["num_samples"], coded["num_samples"], samples["num_samples"]) == (12, 12, 30)
    assert raw["accuracy"] == coded["accuracy"] == samples["accuracy"] == 1.0
    assert shuffled["accuracy"] < 0.7
    assert raw["frechet_distance"] < coded["frechet_distance"]
    assert "codes_used" not in raw
    assert coded["codes_used"] == samples["codes_used"] == result["codes_used"] == 0.75
    assert samples["code_perplexity"] == pytest.approx(3.0)
    lines = format_table(result).splitlines()
    assert "perplexity" in lines[1]
    assert "FID" not in lines[1]
    assert len({len(line) for line in lines[1:]}) == 1
    few = score(metrics, **options, num_real=6)
    assert few["num_test_examples"] == few["rows"][1]["num_samples"] == 6


def test_metrics_of_images_need_the_way_back(metrics):
    with pytest.raises(ValueError, match="decode_fn is needed, as some metrics are for images"):
        score(metrics)
    with pytest.raises(ValueError, match="num_real must be at least 2, got 1"):
        score(metrics, num_real=1)


def test_what_is_not_measured_says_which_file_to_give():
    none = {"inception_weights": None, "resnet_weights": None}
    inception, resnet = missing_weights(none, num_classes=1000)
    assert "pt_inception-2015-12-05-6726825d.pth (https://" in inception
    assert "--config.eval.inception_weights=FILE" in inception
    assert "resnet101-63fe2227.pth (https://" in resnet
    assert missing_weights(none, num_classes=81) == [inception]
    both = {"inception_weights": "a", "resnet_weights": "b"}
    assert missing_weights(both, num_classes=1000) == []
    assert missing_weights(none, num_classes=None)[0] == inception
    assert "--config.eval.clip_weights=FILE" in missing_weights(none, num_classes=None)[1]


def test_weights_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"resnet_weights = .*none.pth cannot be used: There is no"
    ):
        load_resnet(tmp_path / "none.pth")
    other = tmp_path / "other.npz"
    np.savez(other, x=np.ones(2))
    with pytest.raises(ValueError, match=r"cannot be used: The state dict has no conv1.weight"):
        load_resnet(other)
    images = RealImages(TRAIN, image_size=8, limit=100)
    with pytest.raises(ValueError, match=r"resnet_weights know ImageNet's 1000 .* the data have 3"):
        make_image_metrics(
            images, vocab_size=4, num_classes=3, resnet_weights=str(other), progress=False
        )
