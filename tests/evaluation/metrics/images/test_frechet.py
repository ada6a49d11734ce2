import numpy as np
import pytest
from scipy.linalg import sqrtm

from cdcd_jax.evaluation.metrics.images.frechet import (
    Moments,
    frechet_distance,
    init_moments,
    update_moments,
)


def moments_of(features):
    return update_moments(init_moments(features.shape[1]), features)


def random_features(seed, count=300, dim=6, offset=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + offset


def test_batches_add_up_to_the_whole():
    features = random_features(0, offset=1e6)  # far from zero: a sum of squares would lose digits
    moments = init_moments(6)
    for batch in np.split(features, [0, 1, 7, 150, 299]):
        moments = update_moments(moments, batch)
    assert moments.num_examples == 300
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(features.T), rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_general_matrix_root(seed):
    first, second = random_features(seed), random_features(seed + 10, offset=0.3)
    c1, c2 = np.cov(first.T), np.cov(second.T)
    shift = first.mean(axis=0) - second.mean(axis=0)
    expected = shift @ shift + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert frechet_distance(moments_of(first), moments_of(second)) == pytest.approx(
        expected, rel=1e-9
    )


def test_closed_form_of_commuting_covariances():
    """For diagonal covariances the distance is sum (m1-m2)^2 + sum (s1-s2)^2."""
    mean1, mean2 = np.array([0.0, 1.0, -2.0]), np.array([3.0, 1.0, 0.5])
    std1, std2 = np.array([1.0, 2.0, 0.0]), np.array([4.0, 0.5, 0.0])
    first = Moments(11, mean1, np.diag(std1**2) * 10)
    second = Moments(101, mean2, np.diag(std2**2) * 100)
    expected = np.sum((mean1 - mean2) ** 2) + np.sum((std1 - std2) ** 2)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_a_mean_that_is_not_finite_is_no_distance():
    first = moments_of(random_features(1))
    broken = Moments(11, np.full(6, np.nan), np.eye(6))
    with pytest.raises(ValueError, match="is not finite"):
        frechet_distance(first, broken)


def test_symmetric_and_zero_for_equal_sets():
    first, second = moments_of(random_features(1)), moments_of(random_features(2))
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_fewer_examples_than_dimensions():
    """Covariances of rank 3 in 20 dimensions: a translation is still seen exactly."""
    features = random_features(0, count=4, dim=20)
    distance = frechet_distance(moments_of(features), moments_of(features + 0.5))
    assert distance == pytest.approx(20 * 0.25, rel=1e-5)


def test_too_few_examples_and_unlike_features_are_refused():
    one = moments_of(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="at least 2 examples on each side, got 1"):
        frechet_distance(one, moments_of(np.zeros((5, 3))))
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        frechet_distance(moments_of(np.zeros((5, 3))), moments_of(np.zeros((5, 4))))
