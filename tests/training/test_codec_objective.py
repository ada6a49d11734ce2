"""A step of codec training: each part's gradient against the formula, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.discriminator import make_discriminator
from cdcd_jax.codecs.pyramid import pyramid_distance
from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.training.codec_objective import (
    init_codec_training,
    make_codec_objective,
    with_codes,
)
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import init_state
from cdcd_jax.training.step import make_train_step

OPTIONS = {
    "image_size": 16,
    "channels": 8,
    "multipliers": (1, 2),
    "num_res_blocks": 1,
    "norm_groups": 1,
    "attention_resolutions": (),
    "latent_dim": 4,
    "code_dim": 4,
    "num_codes": 16,
}
VQGAN = make_vqgan(**OPTIONS)
CRITIC = make_discriminator(channels=4, num_layers=1)


@pytest.fixture(scope="module")
def images():
    """Four discs of a coloured disc each, uint8."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:16, :16]
    discs = []
    for _ in range(4):
        centre, radius = rng.uniform(5, 11, 2), rng.uniform(3, 6)
        inside = (down - centre[0]) ** 2 + (across - centre[1]) ** 2 < radius**2
        ink, paper = rng.integers(0, 256, (2, 3))
        discs.append(np.where(inside[..., None], ink, paper))
    return np.stack(discs).astype(np.uint8)


def started(**options):
    objective = make_codec_objective(VQGAN, CRITIC, pyramid_distance, **options)
    init_params, init_stats = init_codec_training(VQGAN, CRITIC)
    keys = jax.random.split(jax.random.key(0))
    return objective, init_params(keys[0]), init_stats(keys[1])


def by_the_formula(params, codebook, images, balance):
    """Generator's and critic's losses, written down as they stand in the paper."""
    scaled = jnp.asarray(images, jnp.float32) / 127.5 - 1
    complete = with_codes(params["generator"], codebook)
    features = VQGAN.encode(complete, scaled)
    codes = jax.lax.stop_gradient(VQGAN.lookup(complete, VQGAN.indices(complete, features)))
    made = VQGAN.decode(complete, features + jax.lax.stop_gradient(codes - features))
    fidelity = jnp.mean(jnp.abs(scaled - made)) + jnp.mean(pyramid_distance(scaled, made))
    commitment = 0.25 * jnp.mean((features - codes) ** 2)
    fixed = jax.lax.stop_gradient(params["discriminator"])
    adversarial = -jnp.mean(CRITIC.apply(fixed, made))
    real = CRITIC.apply(params["discriminator"], scaled)
    fake = CRITIC.apply(params["discriminator"], jax.lax.stop_gradient(made))
    critic = (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))) / 2
    return {
        "fidelity": fidelity,
        "adversarial": adversarial,
        "sum": fidelity + commitment + balance * adversarial + critic,
    }


def last_layer_norm(name, params, codebook, images):
    grads = jax.grad(lambda p: by_the_formula(p, codebook, images, 0.0)[name])(params)
    return jnp.sqrt(jnp.sum(grads["generator"]["decoder"]["last"]["kernel"] ** 2))


@pytest.mark.slow
def test_value_and_gradient_are_those_of_the_formula(images):
    objective, params, codebook = started(discriminator_weight=0.8)
    gradient_fn = jax.jit(jax.value_and_grad(objective, argnums=1, has_aux=True))
    (loss, (metrics, _)), grads = gradient_fn(
        jax.random.key(1), params, {"images": images}, codebook
    )

    @jax.jit
    def expected_fn(params):
        fidelity, adversarial = (
            last_layer_norm(name, params, codebook, images) for name in ("fidelity", "adversarial")
        )
        balance = fidelity / (adversarial + 1e-4)
        whole = lambda p: by_the_formula(p, codebook, images, 0.8 * balance)  # noqa: E731
        return balance, whole(params), jax.grad(lambda p: whole(p)["sum"])(params)

    balance, values, expected = expected_fn(params)
    np.testing.assert_allclose(metrics["lambda"], balance, rtol=1e-4)
    np.testing.assert_allclose(metrics["adversarial"], values["adversarial"], rtol=1e-4)
    l1_and_more = metrics["l1"] + metrics["perceptual"]
    np.testing.assert_allclose(l1_and_more, values["fidelity"], rtol=1e-5)
    np.testing.assert_allclose(loss, l1_and_more + 0.25 * metrics["commitment"], rtol=1e-5)
    pairs = list(zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True))
    largest = max(np.abs(theirs).max() for _, theirs in pairs)
    for ours, theirs in pairs:  # what goes into a norm has gradients that cancel to about zero
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max() + 1e-7 * largest)


@pytest.mark.slow
def test_before_its_start_the_critic_moves_nothing_and_is_not_moved(images):
    objective, params, codebook = started(discriminator_start=1)
    without, *_ = started(discriminator_weight=0.0)
    gradient_fn = jax.jit(jax.grad(objective, argnums=1, has_aux=True))
    key = jax.random.key(1)
    grads, (_, after) = gradient_fn(key, params, {"images": images}, codebook)
    plain, (metrics, _) = jax.jit(jax.grad(without, argnums=1, has_aux=True))(
        jax.random.clone(key), params, {"images": images}, codebook
    )
    assert "critic" not in metrics
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(grads["discriminator"]))
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(plain), strict=True)
    assert all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)
    grads, _ = gradient_fn(jax.random.key(2), params, {"images": images}, after)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(grads["discriminator"]))


@pytest.mark.slow
def test_it_learns_a_few_images_and_uses_its_codes(images):
    objective, *_ = started(discriminator_weight=0.1, discriminator_start=100)
    init_params, init_stats = init_codec_training(VQGAN, CRITIC)
    optimizer = make_optimizer(
        lr=3e-3, num_steps=200, decay="cosine", weight_decay=0.0, clip_norm=1.0
    )
    keys = jax.random.split(jax.random.key(0))
    state = init_state(keys[0], init_params, optimizer, init_stats(keys[1]))
    step = jax.jit(make_train_step(objective, optimizer, ema_decay=0.0), donate_argnums=0)
    history = []
    for _ in range(200):
        state, metrics = step(state, {"images": images})
        history.append(jax.device_get(metrics))
    assert int(state.diverged_at) == 0
    assert history[0]["psnr"] < 12
    assert history[-1]["psnr"] > 17
    assert history[-1]["loss"] < history[0]["loss"] / 5
    assert history[-1]["perplexity"] > 8
    assert history[99]["critic"] == 0
    assert history[-1]["critic"] < 1  # it tells real from made better than by saying nothing


def test_a_scored_quantiser_cannot_be_trained():
    scored = make_vqgan(**OPTIONS, quantizer="gumbel")
    with pytest.raises(ValueError, match='quantizer = "gumbel" can be loaded but not trained'):
        make_codec_objective(scored, CRITIC, pyramid_distance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perceptual_weight": -1.0}, "perceptual_weight = -1.0 must be at least 0"),
        ({"codebook_decay": 1.0}, r"codebook_decay = 1.0 must be in \[0, 1\)"),
    ],
)
def test_what_is_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_codec_objective(VQGAN, CRITIC, pyramid_distance, **options)
