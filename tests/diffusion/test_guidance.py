"""Guidance: the published numbers, the limits, and one pass for both guesses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.diffusion.guidance import guide, guide_by_reward, guide_denoiser
from cdcd_jax.diffusion.ramps import Interval, Ramp
from cdcd_jax.diffusion.samplers.sample import sample
from cdcd_jax.diffusion.schedule import absorbing_schedule


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0, 5.0])
def test_it_gives_the_published_numbers(golden, scale):
    file = golden("sampling/ms_cfg.npz")
    # [batch K+1 length]; the last row is the mask, which is never clean.
    cond, null, wanted = (
        jnp.asarray(file[name][:, :-1]).swapaxes(1, 2)
        for name in ("cond_log_probs", "uncond_log_probs", f"cfg_s{scale}")
    )
    np.testing.assert_allclose(guide(cond, null, scale), wanted, atol=1e-5)


def random_denoiser(key):
    table = jax.random.normal(key, (5, 3, 4))  # condition, position, token

    def denoise_fn(zt, t, cond):
        assert cond.ndim == 1
        return jax.nn.log_softmax(table[cond])

    return denoise_fn


def test_scale_0_forgets_the_condition_and_1_changes_nothing():
    denoise_fn = random_denoiser(jax.random.key(0))
    zt, t = jnp.full((2, 3), 4), jnp.array([3, 3])
    cond, null = jnp.array([1, 2]), jnp.array([4, 4])
    assert guide_denoiser(denoise_fn, null, 1.0) is denoise_fn
    forgetful = guide_denoiser(denoise_fn, null, 0.0)(zt, t, cond)
    np.testing.assert_allclose(forgetful, denoise_fn(zt, t, null), atol=1e-6)
    log_p = guide_denoiser(denoise_fn, null, 2.5)(zt, t, cond)
    np.testing.assert_allclose(jnp.exp(log_p).sum(-1), 1.0, atol=1e-6)


def test_guided_samples_have_the_guided_frequencies():
    denoise_fn = random_denoiser(jax.random.key(1))
    schedule = absorbing_schedule(num_steps=3, vocab_size=4)
    cond, null = jnp.full(8000, 1), jnp.full(8000, 0)
    guided = guide_denoiser(denoise_fn, null, 2.0)
    tokens = sample(jax.random.key(2), schedule, guided, cond, shape=(8000, 3))
    p1, p0 = (np.exp(denoise_fn(None, None, jnp.array([c])))[0] for c in (1, 0))
    wanted = p1**2 / p0
    wanted /= wanted.sum(-1, keepdims=True)
    found = np.stack([np.mean(np.asarray(tokens) == k, axis=0) for k in range(4)], axis=-1)
    np.testing.assert_allclose(found, wanted, atol=0.025)


def test_a_negative_scale_is_refused():
    with pytest.raises(ValueError, match="guidance must be at least 0 and finite, got -1"):
        guide_denoiser(random_denoiser(jax.random.key(0)), jnp.array([0]), -1.0)


def test_a_null_condition_of_one_row_is_for_all_rows():
    denoise_fn = random_denoiser(jax.random.key(0))
    zt, t, cond = jnp.full((2, 3), 4), jnp.array([3, 3]), jnp.array([1, 2])
    one, two = (guide_denoiser(denoise_fn, jnp.full(rows, 4), 2.0)(zt, t, cond) for rows in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("null", "message"),
    [
        (None, "guidance needs null_cond, what the network was trained with in place of"),
        (jnp.zeros(3), r"null_cond has shape \(3,\) where cond has \(2,\)"),
        ({"text": jnp.zeros(2)}, "null_cond must be a tree like cond"),
    ],
)
def test_a_null_condition_that_does_not_fit_is_named(null, message):
    def call(*inputs):
        return guide_denoiser(random_denoiser(jax.random.key(0)), null, 2.0)(*inputs)

    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, jnp.full((2, 3), 4), jnp.array([3, 3]), jnp.array([1, 2]))


def test_impossible_tokens_stay_impossible_without_a_nan():
    cond, null = jnp.log(jnp.array([[[0.5, 0.5, 0.0]], [[0.2, 0.8, 0.0]]]))[:, None]
    np.testing.assert_allclose(
        jnp.exp(guide(cond, null, 2.0))[0, 0], [1.25 / 1.5625, 0.3125 / 1.5625, 0], atol=1e-6
    )


def test_a_sweep_compiles_once():
    """Truncation, temperature and guidance may be traced, and give what concrete numbers give."""
    schedule, traces = absorbing_schedule(num_steps=3, vocab_size=4), []
    table = 2.0 * jax.random.normal(jax.random.key(1), (5, 3, 4))

    def draw(truncation, temperature, scale):
        traces.append(scale)
        guided = guide_denoiser(lambda zt, t, cond: table[cond], jnp.array([0]), scale)
        options = {"truncation": truncation, "temperature": temperature}
        cond = jnp.arange(600) % 5
        return sample(jax.random.key(2), schedule, guided, cond, shape=(600, 3), **options)

    traced = jax.jit(draw)
    settings = [(1.0, 1.0, 1.0), (0.86, 1.0, 3.0), (0.5, 0.7, 1.5)]
    found = [np.asarray(traced(*setting)) for setting in settings]
    assert len(traces) == 1
    for setting, tokens in zip(settings, found, strict=True):
        np.testing.assert_array_equal(tokens, jax.jit(lambda setting=setting: draw(*setting))())
    assert (found[0] != found[1]).any()


def test_a_ramp_of_scales_guides_each_row_by_its_own_step():
    denoise_fn = random_denoiser(jax.random.key(0))
    zt, t = jnp.full((2, 3), 4), jnp.array([10, 5])
    cond, null = jnp.array([1, 2]), jnp.array([4])
    guided = guide_denoiser(denoise_fn, null, Ramp(4.0, 1.0), num_steps=10)(zt, t, cond)
    for row, scale in enumerate((4.0, 2.5)):
        alone = guide_denoiser(denoise_fn, null, scale)(zt, t, cond)
        np.testing.assert_allclose(guided[row], alone[row], atol=1e-6)


def test_outside_of_its_interval_guidance_costs_nothing():
    table, calls = random_denoiser(jax.random.key(0)), []

    def counting(zt, t, cond):
        jax.debug.callback(lambda rows=zt.shape[0]: calls.append(rows))
        return table(zt, t, cond)

    scale = Interval(3.0, low=0.2, high=0.6)
    guided = jax.jit(guide_denoiser(counting, jnp.array([4]), scale, num_steps=10))
    zt, cond = jnp.full((2, 3), 4), jnp.array([1, 2])
    at = {step: guided(zt, jnp.full(2, step), cond) for step in (2, 3, 6, 7)}
    jax.effects_barrier()
    assert calls == [2, 4, 4, 2]
    np.testing.assert_allclose(at[7], table(zt, jnp.full(2, 7), cond), atol=1e-6)
    np.testing.assert_allclose(at[2], at[7])
    wanted = guide_denoiser(table, jnp.array([4]), 3.0)(zt, jnp.full(2, 3), cond)
    np.testing.assert_allclose(at[3], wanted, atol=1e-6)


def test_a_sweep_of_scales_over_an_interval_compiles_once():
    denoise_fn, compiled = random_denoiser(jax.random.key(0)), []

    @jax.jit
    def draw(scale):
        compiled.append(scale)
        guided = guide_denoiser(denoise_fn, jnp.array([4]), scale, num_steps=3)
        schedule = absorbing_schedule(num_steps=3, vocab_size=4)
        return sample(jax.random.key(2), schedule, guided, jnp.array([1]), shape=(1, 3))

    for value in (1.0, 2.0, 3.0):
        draw(Interval(value, low=0.1 * value))
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (Interval(-1.0), "guidance must be at least 0 and finite, got -1"),
        (
            Interval(2.0, low=0.7, high=0.2),
            "the Interval from low = 0.7 must have 0 <= low",
        ),
        (Ramp(2.0, float("nan")), "guidance must be at least 0 and finite, got nan"),
        (Ramp("2", 1.0), "guidance.start must be a number"),
    ],
)
def test_bad_scales_are_named(scale, message):
    with pytest.raises(ValueError, match=message):
        guide_denoiser(random_denoiser(jax.random.key(0)), jnp.array([0]), scale, num_steps=4)


def test_a_scale_that_changes_needs_the_number_of_steps():
    with pytest.raises(ValueError, match="num_steps must be a whole number"):
        guide_denoiser(random_denoiser(jax.random.key(0)), jnp.array([0]), Ramp(2.0, 1.0))


def test_a_reward_of_each_position_tilts_exactly():
    denoise_fn = random_denoiser(jax.random.key(3))
    weights = jax.random.normal(jax.random.key(4), (3, 4))
    zt, t, cond = jnp.full((2, 3), 4), jnp.array([3, 1]), jnp.array([0, 3])
    guided = guide_by_reward(denoise_fn, lambda x: (x * weights[None]).sum((1, 2)), 1.5)(
        zt, t, cond
    )
    tilted = np.exp(np.float64(denoise_fn(zt, t, cond)) + 1.5 * np.float64(weights))
    np.testing.assert_allclose(np.exp(guided), tilted / tilted.sum(-1, keepdims=True), atol=1e-6)


def test_a_reward_of_another_shape_is_refused():
    guided = guide_by_reward(random_denoiser(jax.random.key(3)), lambda x: x.sum())
    with pytest.raises(ValueError, match="one number for each of 2 rows, got shape"):
        guided(jnp.full((2, 3), 4), jnp.array([3, 1]), jnp.array([0, 3]))
