"""What a notebook shows of the public objects."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import cdcd_jax as cdcd

SCHEDULE = cdcd.mask_replace_schedule(num_steps=80, vocab_size=2887, final_uniform=0.1)
STATS = cdcd.init_timestep_stats(80)
FIELDS = dict.fromkeys((field.name for field in dataclasses.fields(cdcd.LossTerms)), jnp.ones(4))
CONTRASTS = [cdcd.Contrast("step", num_steps=10, weight=1.2345e-5), cdcd.Contrast("sample")]

REPRS = [
    (
        SCHEDULE,
        "Schedule(num_steps=80, vocab_size=2887, final_keep=9e-06, final_uniform=0.1)",
    ),
    (
        CONTRASTS[0],
        "Contrast(mechanism='step', weight=1.2345e-05, chains='parallel', "
        "time_weight='increasing', num_steps=10)",
    ),
    (
        cdcd.make_sampler(SCHEDULE, lambda zt, t, cond: zt, num_steps=10),
        "Sampler(num_steps=10, times=80..0)",
    ),
    (cdcd.make_loss(SCHEDULE, contrast=CONTRASTS), "Loss(num_steps=80, contrast=step, sample)"),
    (STATS, "TimestepStats(num_steps=80, examples=0)"),
    (
        cdcd.LossTerms(**FIELDS | {"loss": jnp.float32(3.25)}),
        "LossTerms(loss=3.25, batch=4)",
    ),
]


@pytest.mark.parametrize(("value", "shown"), REPRS, ids=[type(x).__name__ for x, _ in REPRS])
def test_a_repr_is_one_short_line(value, shown):
    assert repr(value) == shown
    assert len(shown) < 120


@pytest.mark.parametrize("value", [SCHEDULE, STATS, REPRS[-1][0]], ids=lambda x: type(x).__name__)
def test_a_repr_needs_no_values(value):
    shown = []
    jax.eval_shape(lambda value: shown.append(repr(value)), value)
    shown.append(repr(jax.tree.map(lambda _: object(), value)))
    assert all(text.startswith(type(value).__name__) and "\n" not in text for text in shown)
