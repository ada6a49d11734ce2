import numpy as np
import pytest

from cdcd_jax.data.toy.digits import load_digits
from cdcd_jax.evaluation.metrics.images.classifier import token_classifier


@pytest.fixture(scope="module")
def classifier():
    train = load_digits("train")
    return token_classifier(train.tokens, train.cond)


def test_recognises_digits_of_writers_it_has_not_seen(classifier):
    test = load_digits("test")
    assert classifier.accuracy(test.tokens, test.cond) > 0.95
    shuffled = np.random.default_rng(0).permutation(test.cond)
    assert classifier.accuracy(test.tokens, shuffled) == pytest.approx(0.1, abs=0.05)


def test_features_are_standardised_over_the_training_examples(classifier):
    features = classifier.features(load_digits("train").tokens)
    assert features.shape == (1415, 45)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(features.std(axis=0), 1.0, rtol=1e-9)


def test_fits_the_same_each_time(classifier):
    train, test = load_digits("train"), load_digits("test")
    again = token_classifier(train.tokens, train.cond)
    np.testing.assert_array_equal(again.features(test.tokens), classifier.features(test.tokens))


def test_labels_may_be_any_numbers_and_two_classes_do():
    classifier = token_classifier(
        np.array([[0, 0], [1, 0], [9, 9], [8, 9]]), np.array([-4, -4, 70, 70])
    )
    assert classifier.predict(np.array([[9, 8]])).tolist() == [70]
    assert classifier.features(np.array([[9, 8]])).shape == (1, 1)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        token_classifier(np.zeros((3, 2), int), np.zeros(3, int))
