"""What a codec is trained with: the codebook's running means, the critic, the pyramid distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.codebook import init_codebook, update_codebook
from cdcd_jax.codecs.discriminator import make_discriminator, smallest_image
from cdcd_jax.codecs.pyramid import pyramid_distance


def update(key, codebook, features, indices, **options):
    return jitted_update(key, codebook, jnp.asarray(features), jnp.asarray(indices), **options)


jitted_update = jax.jit(update_codebook, static_argnames=("decay", "restart_below"))


def nearest(codes, features):
    return np.argmin(((features[:, None] - codes[None]) ** 2).sum(-1), axis=1)


def test_without_memory_a_code_is_the_mean_of_what_chose_it():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3)).astype(np.float32)
    indices = np.arange(40) % 4
    codebook = init_codebook(jnp.ones((4, 3)))
    keys = jax.random.split(jax.random.key(0), 2)
    for key in keys:
        codebook, metrics = update(key, codebook, features, indices, decay=0.0)
    expected = np.stack([features[indices == code].mean(axis=0) for code in range(4)])
    np.testing.assert_allclose(codebook.codes, expected, rtol=1e-5, atol=1e-6)
    assert float(metrics["usage"]) == 1.0
    assert float(metrics["restarts"]) == 0.0
    np.testing.assert_allclose(metrics["perplexity"], 4.0, rtol=1e-5)


def test_counts_and_sums_decay_as_the_formula_says():
    features = np.array([[1.0], [3.0], [7.0]], np.float32)
    codebook = init_codebook(jnp.zeros((2, 1)))
    keys = jax.random.split(jax.random.key(0), 2)
    codebook, _ = update(keys[0], codebook, features, np.array([0, 0, 1]))
    counts, sums = np.asarray(codebook.counts), np.asarray(codebook.sums)
    codebook, _ = update(keys[1], codebook, features, np.array([0, 0, 1]), decay=0.9)
    np.testing.assert_allclose(codebook.counts, 0.9 * counts + 0.1 * np.array([2, 1]), rtol=1e-6)
    np.testing.assert_allclose(
        codebook.sums, 0.9 * sums + 0.1 * np.array([[4.0], [7.0]]), rtol=1e-6
    )


def test_a_dead_code_is_moved_onto_a_feature_and_a_live_one_is_not():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(64, 2)).astype(np.float32)
    codebook = init_codebook(jnp.zeros((4, 2)))
    key, *keys = jax.random.split(jax.random.key(0), 101)
    codebook, metrics = update(key, codebook, features, rng.integers(0, 4, 64))
    assert float(metrics["restarts"]) == 4.0
    moved = 0.0
    for key in keys:  # nobody chooses code 3 any more
        before = np.asarray(codebook.codes)
        codebook, metrics = update(key, codebook, features, np.arange(64) % 3, decay=0.9)
        if float(metrics["restarts"]):
            moved += float(metrics["restarts"])
            assert np.isclose(features, np.asarray(codebook.codes)[3]).all(axis=1).any()
            assert not np.allclose(before[3], codebook.codes[3])
    assert moved == 3  # 0.9^n falls below 0.05 after 29 updates
    means = [features[np.arange(64) % 3 == code].mean(axis=0) for code in range(3)]
    np.testing.assert_allclose(codebook.codes[:3], np.stack(means), atol=0.02)


def test_clusters_get_a_code_each_though_all_codes_start_in_one_place():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    codebook = init_codebook(jnp.zeros((16, 2)))
    for key in jax.random.split(jax.random.key(1), 60):
        features = (centres[rng.integers(0, 4, 64)] + rng.normal(size=(64, 2))).astype(np.float32)
        indices = nearest(np.asarray(codebook.codes), features)
        codebook, _ = update(key, codebook, features, indices, decay=0.9)
    distance = np.sqrt(((np.asarray(codebook.codes)[:, None] - centres[None]) ** 2).sum(-1))
    assert distance.min(axis=0).max() < 1.5


def test_the_critic_scores_each_image_on_its_own():
    critic = make_discriminator(channels=4, num_layers=2)
    params = jax.jit(critic.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (3, 32, 32, 3))
    apply = jax.jit(critic.apply)
    together = apply(params, images)
    alone = jnp.concatenate([apply(params, image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert jnp.std(together) > 0


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_smallest_image_leaves_one_score(num_layers):
    critic = make_discriminator(channels=2, num_layers=num_layers)
    side = smallest_image(num_layers)
    params = jax.jit(critic.init)(jax.random.key(0))
    assert jax.jit(critic.apply)(params, jnp.zeros((1, side, side, 3))).shape == (1, 1, 1)
    too_small = jax.eval_shape(critic.apply, params, jnp.zeros((1, side - 1, side - 1, 3)))
    assert too_small.size == 0


def test_the_pyramid_weighs_a_constant_by_its_last_level():
    images = jnp.zeros((2, 32, 32, 3))
    distance = pyramid_distance(images, images + jnp.array([0.5, 1.0])[:, None, None, None])
    np.testing.assert_allclose(distance, [4.0, 8.0], rtol=1e-6)


def test_the_pyramid_finds_lost_texture_that_a_small_shift_of_brightness_outweighs_in_l1():
    rng = np.random.default_rng(0)
    texture = rng.choice([-0.1, 0.1], size=(1, 32, 32, 3)).astype(np.float32)
    image = jnp.asarray(texture)
    flat, brighter = jnp.zeros_like(image), image + 0.02
    lost, shifted = pyramid_distance(image, flat), pyramid_distance(image, brighter)
    assert float(lost[0]) > 0.08
    np.testing.assert_allclose(shifted, [0.16], rtol=1e-3)


def test_the_pyramid_is_smooth_where_it_matters_and_takes_any_size():
    gradient = jax.grad(lambda x: pyramid_distance(x, jnp.zeros((1, 5, 9, 3))).sum())
    assert jnp.isfinite(gradient(jnp.ones((1, 5, 9, 3)))).all()
    assert pyramid_distance(jnp.ones((1, 1, 1, 3)), jnp.zeros((1, 1, 1, 3))).tolist() == [1.0]
