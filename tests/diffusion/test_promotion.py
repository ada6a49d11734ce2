"""Strict dtype promotion: nothing in the core or the denoiser mixes dtypes without saying so."""

import functools

import jax
import jax.numpy as jnp

import cdcd_jax as cdcd
from cdcd_jax.models.functional import make_denoiser

K, SHAPE = 5, (2, 6)
SCHEDULE = cdcd.mask_replace_schedule(num_steps=4, vocab_size=K)
Z0 = jnp.arange(12).reshape(SHAPE) % K
KINDS = {
    "class": (
        {"num_classes": 3, "mlp": "conv", "timestep": "sinusoidal", "class_norm": "instance"},
        jnp.array([0, 2]),
    ),
    "cross": ({"cond_dim": 4, "compute_dtype": "bfloat16", "remat": "dots"}, jnp.ones((2, 3, 4))),
}


def networks():
    for condition, (options, cond) in KINDS.items():
        network = make_denoiser(
            vocab_size=K, num_steps=4, grid=(2, 3), num_layers=1, width=8, num_heads=2,
            condition=condition, **options,
        )  # fmt: skip
        yield network, cond


def gradient(network, cond, params, key):
    """The gradient of both kinds of terms, in passes and with drawn steps."""
    keys = jax.random.split(key, 3)
    terms = cdcd.Contrast("step", num_steps=2), cdcd.Contrast("sample")
    made = cdcd.make_loss(SCHEDULE, contrast=terms, chains_per_pass=2, positions_per_pass=4)
    chunks = cdcd.shuffle_chunks(keys[0], Z0, num_chunks=3, num_negatives=3)
    patches = cdcd.shuffle_patches(keys[1], Z0, grid=(2, 3), patches=(2, 1), num_negatives=1)

    def scalar(params):
        terms, stats = made(
            keys[2],
            functools.partial(network.hidden, params),
            Z0,
            cond,
            negatives=(chunks, patches),
            stats=cdcd.init_timestep_stats(4),
            head_fn=functools.partial(network.head, params),
        )
        return terms.loss, stats

    return jax.grad(scalar, has_aux=True)(params)


def everything(key):
    """Evaluate all of the API on all kinds of networks."""
    steps = jnp.array([2, 4])
    for network, cond in networks():
        keys = iter(jax.random.split(jax.random.clone(key), 5))
        params = network.init(next(keys))
        denoise_fn = functools.partial(network.apply, params)
        yield gradient(network, cond, params, next(keys))
        yield cdcd.evaluate_bound(next(keys), SCHEDULE, denoise_fn, Z0, cond)
        denoise_fn = cdcd.guide_denoiser(denoise_fn, cond[:1], 2.0)
        yield cdcd.sample(
            next(keys), SCHEDULE, denoise_fn, cond, shape=SHAPE, truncation=0.8, temperature=0.9,
            top_k=3, known=jnp.full(SHAPE, K), return_trajectory=True,
        )  # fmt: skip
        yield cdcd.q_sample(next(keys), SCHEDULE, Z0, steps)
    yield cdcd.log_q(SCHEDULE, Z0, steps - 1, steps)
    yield cdcd.log_q_posterior(SCHEDULE, Z0, Z0, steps - 1, steps)
    yield cdcd.log_posterior(SCHEDULE, jnp.zeros((*SHAPE, K)), Z0, steps - 1, steps)
    yield cdcd.prior_kl(SCHEDULE)


def test_strict_promotion_takes_everything():
    """Promotion is a matter of types: tracing finds all of it."""
    with jax.numpy_dtype_promotion("strict"):
        shapes = jax.eval_shape(lambda key: list(everything(key)), jax.random.key(0))
    assert all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves(shapes))


def test_strict_promotion_takes_a_sampler_in_float64():
    def sample(key):
        denoise_fn = lambda zt, t, cond: jnp.zeros((*zt.shape, K))  # noqa: E731
        return cdcd.sample(key, SCHEDULE, denoise_fn, None, shape=SHAPE, truncation=0.8, top_k=3)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        assert jax.eval_shape(sample, jax.random.key(0)).shape == SHAPE


def test_narrow_negatives_meet_wide_tokens():
    made = cdcd.make_loss(SCHEDULE, contrast=cdcd.Contrast("step", chains="shared"))
    flat = lambda zt, t, cond: jnp.zeros((*zt.shape, K))  # noqa: E731

    def run(negatives):
        return made(jax.random.key(0), flat, Z0, None, negatives=negatives)[0].loss

    with jax.numpy_dtype_promotion("strict"):
        assert jax.eval_shape(run, Z0[:, None].astype("uint8")).shape == ()
