"""Precision, recall and kernel distance: by their definitions, and cases worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from cdcd_jax.evaluation.metrics.images import neighbours as neighbours_module
from cdcd_jax.evaluation.metrics.images.neighbours import describe_features


def compare_features(real, made, *, neighbours=3):
    sets = (describe_features(features, neighbours=neighbours) for features in (real, made))
    return neighbours_module.compare_features(*sets)


def covered(examples, members, k):
    """Say of each example whether it is as near to a member as that one's k-th neighbour."""
    among = np.linalg.norm(members[:, None] - members[None], axis=2)
    radius = np.sort(among, axis=1)[:, k]  # the nearest is the member itself
    return (np.linalg.norm(examples[:, None] - members[None], axis=2) <= radius[None]).any(axis=1)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("rows", [7, 1024])
def test_by_the_definitions(monkeypatch, k, rows):
    monkeypatch.setattr(neighbours_module, "ROWS", rows)
    random = np.random.default_rng(0)
    real, made = random.normal(size=(60, 5)), 0.3 + 0.8 * random.normal(size=(45, 5))
    found = compare_features(real.astype(np.float32), made.astype(np.float32), neighbours=k)
    assert found["precision"] == covered(made, real, k).mean()
    assert found["recall"] == covered(real, made, k).mean()
    assert 0.1 < found["recall"] < found["precision"] < 1

    options = {"degree": 3, "gamma": 1 / 5, "coef0": 1}
    xx, yy = (polynomial_kernel(x, **options) for x in (real, made))
    expected = (
        (xx.sum() - np.trace(xx)) / (60 * 59)
        + (yy.sum() - np.trace(yy)) / (45 * 44)
        - 2 * polynomial_kernel(real, made, **options).mean()
    )
    assert found["kid"] == pytest.approx(expected, rel=1e-4)


def test_the_kernel_distance_is_unbiased_and_grows_with_the_shift():
    """In one dimension with y = x + s, E k(x, x') = 1 + 3 v^2 ... of Gaussians in closed form.

    With x, x' ~ N(0, 1) and y, y' ~ N(s, 1): E (xx' + 1)^3 = 1 + 3 m2^2 + 3 m1^2 + m3^2 by the
    moments m1, m2, m3 of each, so that the distance is 3 s^2 + 3 s^4 + (s^3 + 3 s)^2.
    """
    random = np.random.default_rng(1)
    found = [
        compare_features(random.normal(size=(200, 1)), 0.5 + random.normal(size=(100, 1)))["kid"]
        for _ in range(200)
    ]
    shift = 0.5
    expected = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(200)
    same = [compare_features(*random.normal(size=(2, 100, 1)))["kid"] for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200)


def test_equal_sets_collapse_and_distance():
    features = np.random.default_rng(2).normal(size=(50, 8)) * 10
    same = compare_features(features, features)
    assert (same["precision"], same["recall"]) == (1, 1)
    # One real example repeated: real, but of all others nothing is there.
    collapsed = compare_features(features, np.repeat(features[:1], 50, axis=0))
    assert (collapsed["precision"], collapsed["recall"]) == (1, 1 / 50)
    far = compare_features(features, features + 1000)
    assert (far["precision"], far["recall"]) == (0, 0)
    assert far["kid"] > 1e3


def test_few_examples_have_no_third_neighbour():
    features = np.eye(5)
    assert set(compare_features(features, features[:3])) == {"kid"}
    assert set(compare_features(features, features[:4])) == {"kid", "precision", "recall"}
    assert compare_features(features, features[:1]) == {}
