"""The classifiers of glyphs recognise real letters in styles that they have not seen them in."""

import numpy as np
import pytest

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.toy.glyphs import load_glyphs
from cdcd_jax.evaluation.batches import own_share
from cdcd_jax.evaluation.metrics.images import glyphs as glyph_classifiers
from cdcd_jax.evaluation.metrics.images.glyphs import fit_glyph_classifiers, make_glyph_metrics
from cdcd_jax.evaluation.metrics.images.stroke_features import describe_strokes
from cdcd_jax.evaluation.metrics.metric import score_examples

SCRIPTS = ["digit", "greek capital letter"]
COUNT = 68


@pytest.fixture(scope="module")
def splits():
    return tuple(load_glyphs(split, num_variants=2, scripts=SCRIPTS) for split in ("train", "test"))


@pytest.fixture(scope="module")
def real(splits):
    test = splits[1]
    images = np.stack([decode_image(test[index].data) for index in range(len(test))])
    return images / np.float32(255)


@pytest.fixture(scope="module")
def classifiers(splits):
    return fit_glyph_classifiers(splits[0])


@pytest.fixture
def fitted_once(monkeypatch, classifiers):
    monkeypatch.setattr(glyph_classifiers, "fit_glyph_classifiers", lambda train: classifiers)


@pytest.fixture
def metrics(splits, fitted_once):
    return make_glyph_metrics(*splits)


def score(metrics, images, labels):
    halves = np.array_split(np.arange(len(images)), 2)
    batches = [({"images": images[half]}, [labels[half]]) for half in halves]
    return score_examples(metrics, own_share(len(images), 10), batches)[0]


def test_real_glyphs_in_new_styles_are_recognised(metrics, real):
    assert len(real) == COUNT
    result = score(metrics, real, np.arange(COUNT))
    assert result["letter_accuracy"] > 0.9
    assert result["style_accuracy"] > 0.8
    assert result["both_accuracy"] > 0.75
    assert result["both_accuracy"] <= min(result["letter_accuracy"], result["style_accuracy"])


def test_other_captions_are_not_taken_for_right(metrics, real, splits):
    test = splits[1]
    moved = np.roll(np.arange(COUNT), 31)
    result = score(metrics, real, moved)
    assert result["letter_accuracy"] < 0.1
    assert result["both_accuracy"] <= result["style_accuracy"] < 0.3
    # The wrong letter in the style that was requested is half right.
    partners = np.array([
        next(j for j in range(COUNT) if test.styles[j] == test.styles[i] and j != i)
        for i in range(COUNT)
    ])  # fmt: skip
    result = score(metrics, real, partners)
    assert result["letter_accuracy"] < 0.1
    assert result["style_accuracy"] > 0.8
    assert result["both_accuracy"] < 0.1


def test_the_distance_grows_with_damage(metrics, real):
    rng = np.random.default_rng(0)
    noisy = real + rng.normal(0, 0.3, real.shape).astype(np.float32)
    labels = np.arange(COUNT)
    distances = [score(metrics, x, labels)["frechet_distance"] for x in (real, noisy)]
    assert distances[1] > 3 * distances[0]
    blank = score(metrics, np.ones_like(real), labels)
    assert blank["frechet_distance"] > 10 * distances[0]
    assert blank["both_accuracy"] < 0.05


def test_numbers_say_which_captions_were_requested(splits, metrics, real):
    some = np.arange(9, COUNT, 3)
    chosen = make_glyph_metrics(*splits, numbers=some)
    ours = score(chosen, real[some], np.arange(len(some)))
    assert ours == pytest.approx(score(metrics, real[some], some))


def test_bytes_and_values_are_described_alike(real):
    bytes_ = np.round(real[:9] * 255).astype(np.uint8)
    np.testing.assert_allclose(describe_strokes(bytes_), describe_strokes(real[:9]), atol=1e-5)
    lengths = np.linalg.norm(describe_strokes(real[:9]), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_strokes_are_recognised_by_their_directions():
    upright, lying = np.ones((2, 16, 16, 3), np.float32)
    upright[:, 8:], lying[8:] = 0, 0
    described = describe_strokes(np.stack([upright, lying, 1 - upright, 0.5 * upright]))
    alike = described @ described[0]
    # The opposite direction has nothing in common, and how strong the slope is does not matter.
    np.testing.assert_allclose(alike[[0, 2, 3]], [1, 0, 1], atol=1e-5)
    # Across, it is the little that directions between the two get of both.
    assert 0 < alike[1] < 0.02


def test_mistakes_are_named():
    ones = load_glyphs("train", num_variants=1, scripts=["digit"], families=["mono"])
    ones.shapes = np.zeros_like(ones.shapes)
    with pytest.raises(ValueError, match="at least two classes"):
        fit_glyph_classifiers(ones)
    with pytest.raises(ValueError, match="at least 8 pixels a side"):
        describe_strokes(np.zeros((2, 4, 16, 3)))
