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


def test_clipping_that_ends_is_not_the_published_one(golden):
    """The published ``ClipGradNorm(0, 3, 0.5)`` goes on after its end, so none is set here."""
    numbers = golden("optim/lr_clip_ema.npz")
    assert all(np.linalg.norm(numbers["adamw_grads"].reshape(8, -1), axis=1) > 0.5)
    optimizer = make_optimizer(
        lr=0.01, num_steps=1, decay="constant", weight_decay=0.045, clip_steps=3
    )
    params = {"w": jnp.asarray(numbers["adamw_w0"])}
    state, errors = optimizer.init(params), []
    for grad, expected in zip(numbers["adamw_grads"], numbers["adamw_w"], strict=True):
        updates, state = optimizer.update({"w": jnp.asarray(grad)}, state, params, value=0.0)
        params = optax.apply_updates(params, updates)
        errors.append(np.abs(params["w"] - expected).max())
    assert max(errors[:3]) < 1e-6
    assert min(errors[3:]) > 1e-4


def published_plateau(losses, *, lr, first, smallest, warmup, patience, factor, threshold):
    """Compute the rate after each loss as the published scheduler does, in float64."""
    rate, best, bad, found = first, np.inf, 0, []
    for number, loss in enumerate(losses, 1):
        if number <= warmup:
            rate += (lr - first) / warmup
        elif loss < best * (1 - threshold):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            rate, bad = max(rate * factor, smallest), 0
        found.append(rate)
    return np.array(found)


def rates_after(optimizer, losses):
    """Compute the rate after each loss; nothing of the update but the state is kept."""
    params = {"w": jnp.zeros(1)}

    def after(state, value):
        state = optimizer.update(params, state, params, value=value)[1]
        return state, optimizer.learning_rate(state)

    return np.array(jax.jit(lambda x: jax.lax.scan(after, optimizer.init(params), x)[1])(losses))


PLATEAU = {
    "lr": 2e-4, "num_steps": 1, "decay": "plateau", "warmup_steps": 10, "warmup_from": 3e-6,
    "end_lr": 1e-6, "plateau_factor": 0.5, "plateau_patience": 7, "plateau_threshold": 0.1,
}  # fmt: skip


def as_published(options):
    names = {"warmup_from": "first", "end_lr": "smallest", "warmup_steps": "warmup"}
    names |= {f"plateau_{name}": name for name in ("patience", "factor", "threshold")}
    return {"lr": options["lr"]} | {name: options[key] for key, name in names.items()}


def test_plateau_after_warmup_matches_the_reference(golden):
    numbers = golden("optim/lr_clip_ema.npz")
    rates = rates_after(make_optimizer(**PLATEAU), numbers["metrics"])
    np.testing.assert_allclose(rates, numbers["lrs"], rtol=1e-6)
    np.testing.assert_array_equal(
        published_plateau(numbers["metrics"], **as_published(PLATEAU)), numbers["lrs"]
    )
    assert rates[-1] < rates[20] / 64


def test_losses_of_the_warmup_do_not_count():
    """A best loss met there would never be reached again, and its updates would use up patience."""
    losses = np.concatenate([np.full(10, 0.01), np.full(8, 5.0), np.full(12, 4.0)])
    rates = rates_after(make_optimizer(**PLATEAU), losses)
    np.testing.assert_allclose(rates, published_plateau(losses, **as_published(PLATEAU)), rtol=1e-6)
    assert rates[25] == pytest.approx(2e-4)
    assert rates[26] == pytest.approx(1e-4)


def test_a_cut_applies_from_the_next_update_on():
    """The rate is reported for the update it is used in, here by an update of Adam of size one."""
    options = PLATEAU | {"warmup_steps": 0, "plateau_patience": 0, "weight_decay": 0.0}
    optimizer = make_optimizer(**options)
    params = {"w": jnp.ones(1)}
    state = optimizer.init(params)
    for rate in (2e-4, 2e-4, 1e-4):
        assert float(optimizer.learning_rate(state)) == pytest.approx(rate)
        updates, state = optimizer.update(params, state, params, value=1.0)
        assert float(-updates["w"][0]) == pytest.approx(rate, rel=1e-4)


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


def test_wsd_stays_and_falls_at_its_end():
    found = rates(12, lr=1.0, num_steps=10, warmup_steps=2, end_lr=0.2, decay="wsd",
                  cooldown_steps=4)  # fmt: skip
    expected = [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_longer_wsd_has_the_same_rates_up_to_the_fall_of_the_shorter():
    short, long = (rates(20, lr=1.0, num_steps=n, warmup_steps=2, decay="wsd") for n in (10, 20))
    np.testing.assert_array_equal(short[:9], long[:9])
    assert short[9] < 0.6
    assert long[9] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr = 0.0 must be above 0"),
        ({"lr": float("nan")}, "lr = nan must be above 0"),
        ({"b2": 1.0}, r"b2 = 1.0 must be in \[0, 1\)"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0 must be 0 or above"),
        ({"end_lr": 0.2}, "end_lr = 0.2 must are between 0 and lr = 0.1"),
        ({"plateau_factor": 1.0}, "plateau_factor = 1.0"),
        ({"decay": "linear"}, 'decay = "linear" must be one of'),
        ({"warmup_steps": 9}, "warmup_steps = 9 leaves nothing of num_steps = 9"),
        ({"warmup_steps": 9, "decay": "wsd"}, "warmup_steps = 9 leaves nothing of num_steps = 9"),
        ({"warmup_steps": 3, "decay": "wsd", "cooldown_steps": 7}, "cooldown_steps = 7 is longer"),
        ({"cooldown_steps": 0}, "cooldown_steps = 0 must be above 0"),
        ({"plateau_patience": -1}, "plateau_patience = -1 must be 0 or above"),
        ({"clip_norm": 0.0}, "clip_norm = 0.0"),
        ({"clip_steps": 0}, "clip_steps = 0 must be above 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**({"lr": 0.1, "num_steps": 9} | options))
