import numpy as np
import pytest

import cdcd_jax as cdcd
from cdcd_jax.diffusion.schedule import log_snr

SCHEDULES = {
    "published": lambda T, K: cdcd.mask_replace_schedule(num_steps=T, vocab_size=K),
    "uniform": lambda T, K: cdcd.mask_replace_schedule(
        num_steps=T, vocab_size=K, final_uniform=0.1
    ),
    "absorbing": lambda T, K: cdcd.absorbing_schedule(num_steps=T, vocab_size=K),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("num_steps", "vocab_size"), [(1, 2), (2, 3), (10, 16), (1000, 2887)])
def test_rates_are_probabilities(make, num_steps, vocab_size):
    schedule = make(num_steps, vocab_size)
    assert schedule.num_steps == num_steps
    for alpha, beta, gamma in (
        (schedule.alpha, schedule.beta, schedule.gamma),
        (schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar),
    ):
        assert alpha.dtype == np.float64
        assert min(alpha.min(), beta.min(), gamma.min()) >= 0.0
        np.testing.assert_allclose(alpha + vocab_size * beta + gamma, 1.0, rtol=1e-14)
    assert (schedule.alpha_bar[0], schedule.beta_bar[0], schedule.gamma_bar[0]) == (1, 0, 0)
    assert np.all(np.diff(schedule.gamma_bar) > 0)


def test_final_shares():
    schedule = SCHEDULES["uniform"](50, 8)
    np.testing.assert_allclose(8 * schedule.beta_bar[50], 0.1, rtol=1e-12)
    np.testing.assert_allclose(schedule.gamma_bar[50], 0.9 - 9e-6, rtol=1e-12)
    # A single step has the final shares, not the first ones.
    np.testing.assert_allclose(SCHEDULES["published"](1, 8).gamma_bar[1], 0.99999, rtol=1e-12)


@pytest.mark.parametrize("code", ["image", "music"])
@pytest.mark.parametrize("num_steps", [10, 80, 100])
@pytest.mark.parametrize("vocab_size", [16, 974, 2048, 2887])
def test_reference_tables(golden, code, num_steps, vocab_size):
    """The music code divides the uniform share by K+1."""
    tables = golden("schedule/alpha_schedule.npz")
    schedule = cdcd.mask_replace_schedule(
        num_steps=num_steps,
        vocab_size=vocab_size,
        denominator=vocab_size + 1 if code == "music" else None,
    )
    names = {"at": "alpha", "bt": "beta", "ct": "gamma"}
    for theirs, ours in names.items():
        prefix = f"{code}/T{num_steps}/K{vocab_size}"
        np.testing.assert_allclose(
            getattr(schedule, ours)[1:], tables[f"{prefix}/{theirs}"], rtol=1e-8, atol=1e-16
        )
        np.testing.assert_allclose(
            getattr(schedule, f"{ours}_bar")[1:],
            tables[f"{prefix}/{theirs[0]}tt"][:-1],
            rtol=1e-8,
            atol=1e-16,
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number, at least 1, got 0"),
        ({"vocab_size": 1}, "vocab_size must be at least 2 real tokens, got 1"),
        ({"final_keep": 0.0}, "final_keep = 0 must be in"),
        ({"final_uniform": 1.2}, "final_uniform = 1.2"),
        ({"first_keep": 0.5, "final_keep": 0.6}, "negative beta at step 2"),
        (
            {"curve": "cosin"},
            'curve = "cosin" is not a curve; there are linear, cosine, polynomial',
        ),
        ({"curve": "polynomial", "power": 0.0}, "power = 0 of a polynomial schedule must be above"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        cdcd.mask_replace_schedule(**{"num_steps": 10, "vocab_size": 4, **changes})


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_a_polynomial_runs_as_its_power(power):
    schedule = cdcd.absorbing_schedule(num_steps=8, vocab_size=4, curve="polynomial", power=power)
    np.testing.assert_allclose(schedule.gamma_bar, (np.arange(9) / 8) ** power, rtol=1e-12)
    line = cdcd.absorbing_schedule(num_steps=8, vocab_size=4, curve="polynomial", power=1.0)
    straight = cdcd.absorbing_schedule(num_steps=8, vocab_size=4)
    np.testing.assert_array_equal(line.gamma_bar, straight.gamma_bar)


def test_a_cosine_reveals_few_tokens_in_its_first_reverse_steps():
    schedule = cdcd.absorbing_schedule(num_steps=50, vocab_size=4, curve="cosine")
    # MaskGIT's: the masked share is cos(pi r / 2) after a share r of the reverse steps.
    reversed_steps = 1.0 - np.arange(51) / 50
    np.testing.assert_allclose(
        schedule.gamma_bar, np.cos(0.5 * np.pi * reversed_steps), rtol=1e-12, atol=1e-12
    )
    assert schedule.gamma_bar[50] == 1.0
    assert 1.0 - schedule.gamma_bar[49] < 1e-3


@pytest.mark.parametrize("curve", ["linear", "cosine", "polynomial"])
def test_curves_begin_and_end_at_the_given_shares(curve):
    schedule = cdcd.mask_replace_schedule(
        num_steps=20, vocab_size=8, final_uniform=0.1, final_keep=0.01, curve=curve, power=3.0
    )
    np.testing.assert_allclose(schedule.alpha_bar[[1, 20]], [0.99999, 0.01], rtol=1e-12)
    np.testing.assert_allclose(8 * schedule.beta_bar[[1, 20]], [1e-6, 0.1], rtol=1e-9)
    rates = schedule.alpha + 8 * schedule.beta + schedule.gamma
    np.testing.assert_allclose(rates, 1.0, rtol=1e-14)


def test_log_snr_falls_from_infinity():
    snr = log_snr(cdcd.mask_replace_schedule(num_steps=20, vocab_size=8, curve="cosine"))
    assert np.isposinf(snr[0])
    assert np.all(np.diff(snr[1:]) < 0)
    np.testing.assert_allclose(snr[20], np.log(9e-6 / (1 - 9e-6)), rtol=1e-9)
