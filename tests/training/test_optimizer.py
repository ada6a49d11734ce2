"""The optimizer against the published code's numbers, and its schedules against formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdcd_jax.training.optimizer import make_optimizer, update_ema


def test_adamw_with_clipping_matches_the_reference(golden):
    numbers = golden("optim/lr_clip_ema.npz")
    optimizer = make_optimizer(lr=0.01, num_steps=1, decay="constant", weight_decay=0.045)
    params = {"w": jnp.asarray(numbers["adamw_w0"])}
    state = optimizer.init(params)
    for grad, expected in zip(numbers["adamw_grads"], numbers["adamw_w"], strict=True):
        updates, state = optimizer.update({"w": jnp.asarray(grad)}, state, params, value=0.0)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["w"], expected, rtol=2e-6, atol=1e-7)


def test_plateau_after_warmup_matches_the_reference(golden):
    numbers = golden("optim/lr_clip_ema.npz")
    optimizer = make_optimizer(
        lr=2e-4,
        num_steps=1,
        decay="plateau",
        warmup_steps=10,
        warmup_from=3e-6,
        end_lr=1e-6,
        plateau_factor=0.5,
        plateau_patience=7,
        plateau_threshold=0.1,
        plateau_window=1,
    )
    params = {"w": jnp.zeros(1)}

    @jax.jit
    def rate_after(state, value):
        state = optimizer.update(params, state, params, value=value)[1]
        return state, optimizer.learning_rate(state)

    state, rates = optimizer.init(params), []
    for value in numbers["metrics"]:
        state, rate = rate_after(state, value)
        rates.append(float(rate))
    np.testing.assert_allclose(rates, numbers["lrs"], rtol=1e-6)
    assert rates[-1] < rates[20] / 64


def test_ema_every_third_update_matches_the_reference(golden):
    numbers = golden("optim/lr_clip_ema.npz")
    ema = {"w": jnp.asarray(numbers["ema_w0"])}
    for i, (w, expected) in enumerate(zip(numbers["ema_w"], numbers["ema_avg"], strict=True)):
        ema = update_ema(ema, {"w": jnp.asarray(w)}, jnp.int32(i + 1), decay=0.99, every=3)
        np.testing.assert_allclose(ema["w"], expected, rtol=1e-6, atol=1e-8)


def rates(num, **options):
    optimizer = make_optimizer(**options)
    params = {"w": jnp.ones(1)}
    state, found = optimizer.init(params), []
    step = jax.jit(lambda state: optimizer.update(params, state, params, value=1.0)[1])
    for _ in range(num):
        found.append(float(optimizer.learning_rate(state)))
        state = step(state)
    return np.array(found)


def test_cosine_after_warmup_follows_its_formula():
    n = np.arange(20)
    cosine = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * np.clip((n - 4) / 16, 0, 1)))
    expected = np.where(n < 4, n / 4, cosine)
    found = rates(20, lr=1.0, num_steps=20, warmup_steps=4, end_lr=0.1, decay="cosine")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_reported_rate_is_the_one_applied():
    """Adam's first update has size one, so the step taken is the rate."""
    optimizer = make_optimizer(
        lr=0.5, num_steps=9, warmup_steps=4, warmup_from=0.1, weight_decay=0.0
    )
    params = {"w": jnp.ones(1)}
    state = optimizer.init(params)
    updates, _ = optimizer.update(params, state, params, value=1.0)
    assert float(-updates["w"][0]) == pytest.approx(float(optimizer.learning_rate(state)), rel=1e-4)


def test_plateau_compares_means_of_windows():
    """Two alternating losses never improve singly by luck: their window means are constant."""
    optimizer = make_optimizer(
        lr=1.0, num_steps=1, decay="plateau", plateau_window=4, plateau_patience=1
    )
    params = {"w": jnp.zeros(1)}
    state, found = optimizer.init(params), []
    step = jax.jit(lambda state, value: optimizer.update(params, state, params, value=value)[1])
    for i in range(12):
        state = step(state, jnp.float32(i % 2))
        found.append(float(optimizer.learning_rate(state)))
    # Windows end at updates 4, 8, 12: the first is the best, the next two do not improve on it.
    assert found == [1.0] * 11 + [0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr = 0.0 must be above 0"),
        ({"lr": float("nan")}, "lr = nan must be above 0"),
        ({"b2": 1.0}, r"b2 = 1.0 must lie in \[0, 1\)"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0 must be 0 or above"),
        ({"end_lr": 0.2}, "end_lr = 0.2 must lie between 0 and lr = 0.1"),
        ({"plateau_factor": 1.0}, "plateau_factor = 1.0"),
        ({"decay": "linear"}, 'decay = "linear" must be one of'),
        ({"warmup_steps": 9}, "warmup_steps = 9 leaves nothing of num_steps = 9"),
        ({"clip_norm": 0.0}, "clip_norm = 0.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**({"lr": 0.1, "num_steps": 9} | options))
