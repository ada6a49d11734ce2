"""The training step: accumulation, non-finite losses, sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import check_batch_size, make_mesh, place_batch, replicated
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.step import Objective, make_train_step
from tests.support.toy_run import (
    CountingBatches,
    assert_same,
    deterministic,
    leaves,
    make_run,
    objective,
)


def steps(num, num_microbatches, batch_size=64, objective_fn=deterministic, devices=1):
    mesh = make_mesh(jax.devices()[:devices])
    fresh, step = make_run(num_microbatches, objective_fn)
    compiled = compile_step(step, mesh)
    state = jax.jit(fresh, out_shardings=replicated(mesh))()
    batches = CountingBatches(batch_size)
    for _ in range(num):
        state, metrics = compiled(state, place_batch(next(batches), mesh))
    return state, metrics


def test_four_microbatches_of_16_are_one_batch_of_64():
    whole, whole_metrics = steps(3, 1)
    parts, parts_metrics = steps(3, 4)
    for name, expected in leaves(whole).items():
        np.testing.assert_allclose(leaves(parts)[name], expected, rtol=1e-5, atol=1e-6)
    for name, expected in whole_metrics.items():
        np.testing.assert_allclose(parts_metrics[name], expected, rtol=1e-5)


def test_every_row_gets_the_noise_of_the_whole_batch():
    def loss(params, batch, stats):
        noise = batch["noise"]
        metrics = {"noise": jnp.mean(noise), "square": jnp.mean(noise**2)}
        return jnp.sum(params["w"] ** 2), (metrics, noise)

    def update(key, stats, seen):
        # In the order of the rows: a sum would not notice another one.
        return {"seen": jnp.sum(seen * jnp.arange(1.0, 65.0))}, {}

    drawn = Objective(loss, lambda key, batch, stats: {"noise": jax.random.normal(key, (64,))})
    drawn = drawn._replace(update=update)
    whole, whole_metrics = steps(1, 1, objective_fn=drawn)
    parts, metrics = steps(1, 4, objective_fn=drawn)
    assert float(metrics["square"] - metrics["noise"] ** 2) > 0.5  # each row its own
    np.testing.assert_allclose(parts.stats["seen"], whole.stats["seen"], rtol=1e-5)
    np.testing.assert_allclose(metrics["noise"], whole_metrics["noise"], rtol=1e-5)


@pytest.mark.parametrize("num_microbatches", [1, 2])
def test_eight_devices_are_one(num_microbatches):
    one, one_metrics = steps(3, num_microbatches, objective_fn=objective)
    eight, eight_metrics = steps(3, num_microbatches, objective_fn=objective, devices=8)
    assert len(eight.params["w"].sharding.device_set) == 8
    for name, expected in leaves(one).items():
        np.testing.assert_allclose(leaves(eight)[name], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(eight_metrics["grad_norm"], one_metrics["grad_norm"], rtol=1e-5)


def test_a_batch_that_does_not_divide_is_refused():
    mesh = make_mesh(jax.devices()[:8])
    check_batch_size(64, mesh, num_microbatches=4)
    with pytest.raises(ValueError, match=r"batch_size = 60 .* on each of 8 devices; take 32 or 64"):
        check_batch_size(60, mesh, num_microbatches=4)


def test_a_step_that_is_not_finite_changes_nothing_and_is_remembered():
    fresh, step = make_run()
    compiled = jax.jit(step)
    good, bad = CountingBatches(), CountingBatches(bad={2})
    state, before = fresh(), None
    for _ in range(2):
        state, _ = compiled(state, next(bad))
        before, _ = compiled(fresh() if before is None else before, next(good))
    assert_same(state, before)
    for _ in range(3):  # the poisoned batch, then two clean ones
        state, metrics = compiled(state, next(bad))
        assert int(metrics["diverged_at"]) == 3
    expected = leaves(before) | {".diverged_at": np.int32(3)}
    for name, value in leaves(state).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_steps_that_are_not_finite_are_skipped_up_to_a_limit():
    fresh, step = make_run(max_skipped=2)
    compiled, state = jax.jit(step), fresh()
    batches, seen = CountingBatches(bad={1, 3, 4, 6, 7, 8}), []
    for number in range(10):
        before = leaves(state)
        state, metrics = compiled(state, next(batches))
        counts = [int(metrics[name]) for name in ("skipped_in_row", "skipped", "diverged_at")]
        seen.append((int(state.step), *counts))
        after = leaves(state)
        changed = {name for name in after if not np.array_equal(after[name], before[name])}
        if number in (1, 3, 4, 6, 7):
            assert changed == {".step", ".skipped_in_row", ".skipped"}
        elif number == 8:  # the third in a row
            assert changed == {".diverged_at"}
        elif number == 9:  # a good batch, too late
            assert changed == set()
        else:
            assert {".step", ".opt_state['adamw'][0].count"} < changed
    assert seen == [
        (1, 0, 0, 0), (2, 1, 1, 0), (3, 0, 1, 0), (4, 1, 2, 0), (5, 2, 3, 0),
        (6, 0, 3, 0), (7, 1, 4, 0), (8, 2, 5, 0), (8, 2, 5, 9), (8, 2, 5, 9),
    ]  # fmt: skip


def test_a_donated_state_is_updated_in_place():
    fresh, step = make_run(max_skipped=2)
    state, batch = jax.eval_shape(fresh), next(CountingBatches())
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    of_state = sum(np.asarray(x).nbytes for x in leaves(fresh()).values())
    assert compiled.memory_analysis().alias_size_in_bytes == of_state


@pytest.mark.parametrize("value", [jnp.inf, jnp.nan])
def test_a_gradient_that_is_not_finite_counts_too(value):
    def steep(params, batch, stats):
        # The square root's slope at 0 is infinite, its value is not.
        slope = jnp.sqrt(jnp.maximum(params["w"][0] - params["w"][0], 0.0))
        loss = jnp.where(jnp.isnan(value), slope * 0.0, slope) + jnp.sum(params["w"] ** 2)
        return loss, ({}, ())

    _, metrics = steps(1, 1, objective_fn=Objective(steep))
    assert np.isfinite(metrics["loss"])
    assert int(metrics["diverged_at"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_microbatches": 0}, "num_microbatches = 0"),
        ({"ema_decay": 1.5}, "ema_decay = 1.5"),
        ({"ema_every": 0}, "ema_every = 0"),
        ({"max_skipped": -1}, "max_skipped = -1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_train_step(deterministic, make_optimizer(lr=0.1, num_steps=9), **options)
