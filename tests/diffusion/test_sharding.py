"""Sampler and bound inside ``jax.shard_map``: each device computes the rows that it has."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import cdcd_jax as cdcd

K, LENGTH, ROWS = 5, 6, 2
SCHEDULE = cdcd.mask_replace_schedule(num_steps=3, vocab_size=K)
COND = jnp.arange(2 * ROWS * LENGTH).reshape(2 * ROWS, LENGTH) % K
TABLE = jax.random.normal(jax.random.key(9), (K + 1, K))


def by_token(zt, t, cond):
    return TABLE[zt] * (1.0 + 0.1 * t[:, None, None]) + 3.0 * jax.nn.one_hot(cond, K)


def draw(key, cond, truncation):
    known = jnp.full(cond.shape, K).at[:, 0].set(2)
    options = {"truncation": truncation, "temperature": 0.9, "top_k": 4, "known": known}
    return cdcd.sample(key, SCHEDULE, by_token, cond, shape=cond.shape, **options)


def draw_freely(key, cond, truncation):
    return cdcd.sample(key, SCHEDULE, by_token, cond, shape=cond.shape)


def draw_and_correct(key, cond, truncation):
    parts = {"sampler": cdcd.samplers.Purity(tokens_per_call=2), "corrector": "gibbs"}
    return cdcd.sample(key, SCHEDULE, by_token, cond, shape=cond.shape, **parts)


def bound(key, cond, truncation):
    return cdcd.evaluate_bound(key, SCHEDULE, by_token, cond, cond)


@pytest.mark.parametrize("function", [draw, draw_freely, draw_and_correct, bound])
@pytest.mark.parametrize("own_keys", [False, True])
def test_devices_compute_what_one_does(function, own_keys):
    """With a key for each device, or one for all, bit for bit what the same key gives elsewhere."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    keys = jax.random.split(jax.random.key(1))

    def on_device(keys, cond, truncation):
        return function(keys[0], cond, truncation)

    specs = P("rows") if own_keys else P(), P("rows"), P()
    split = jax.jit(jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=P("rows")))
    alone = jax.jit(partial(function, truncation=0.8))
    found = np.asarray(split(jax.random.clone(keys), COND, 0.8))
    for device, key in enumerate(
        keys if own_keys else [jax.random.clone(keys)[0] for _ in range(2)]
    ):
        rows = slice(ROWS * device, ROWS * (device + 1))
        np.testing.assert_array_equal(found[rows], alone(key, COND[rows]))


def test_what_all_devices_have_in_common_stays_common():
    """Nothing is marked as varying that does not: such a sample may leave as one for all."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    split = jax.shard_map(
        lambda key, cond: draw(key, cond, 0.8), mesh=mesh, in_specs=P(), out_specs=P()
    )
    assert jax.eval_shape(split, jax.random.key(1), COND).shape == COND.shape


def test_explicit_axes_end_in_a_sentence_and_auto_axes_is_the_way_out():
    mesh = jax.make_mesh(
        (2,), ("rows",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2]
    )
    split = jax.device_put(COND, jax.sharding.NamedSharding(mesh, P("rows")))
    with jax.set_mesh(mesh):
        for function in (bound, lambda key, cond, _: cdcd.shuffle_chunks(key, cond, num_chunks=2)):
            with pytest.raises(ValueError, match="split over rows, of a mesh of Explicit axes"):
                function(jax.random.key(1), split, 0.8)

        @jax.jit
        def draw_bound(key, cond):
            run = jax.sharding.auto_axes(partial(bound, truncation=0.8), out_sharding=P("rows"))
            return run(key, cond)

        found = draw_bound(jax.random.key(1), split)
    assert found.sharding.spec == P("rows")
    alone = jax.jit(partial(bound, truncation=0.8))(jax.random.key(1), COND)
    np.testing.assert_allclose(found, alone, rtol=1e-5)
