"""Every rule with every corrector: a seed gives one sample, and known tokens stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax as cdcd
from cdcd_jax.diffusion.samplers.sample import build_sampler, prepare_parts, run_sampler
from cdcd_jax.registry import CORRECTORS, SAMPLERS

K, LENGTH, ROWS = 3, 6, 4
KNOWN = np.array([[K, 0, 1, K, 2, K]] * ROWS, np.int32)
LOGITS = np.random.default_rng(0).normal(size=(LENGTH, K)).astype(np.float32)
OWN_STEPS = {name for name, rule in SAMPLERS.items() if rule().own_steps}
PAIRS = [
    (rule, corrector)
    for rule in SAMPLERS
    for corrector in (None, *CORRECTORS)
    if corrector is None or rule not in OWN_STEPS
]


def network(zt, t, cond):
    return LOGITS[None] + jax.nn.one_hot(zt, K)


@pytest.mark.parametrize(("rule", "corrector"), PAIRS)
def test_a_seed_gives_one_sample_and_known_tokens_stay(rule, corrector):
    schedule = cdcd.absorbing_schedule(num_steps=4, vocab_size=K)
    if corrector == "self_correction" or rule == "purity":  # which need tokens that are replaced
        schedule = cdcd.mask_replace_schedule(num_steps=4, vocab_size=K, final_uniform=0.2)
    options = {"grid": (2, 3)} if rule == "halton" else {}
    given = {"sampler": rule, "corrector": corrector, "num_steps": None, "times": "uniform"}
    filters = {"truncation": 0.9, "top_k": None, "temperature": 1.0}
    parts = prepare_parts(schedule, length=LENGTH, **given, **filters, **options)

    @jax.jit  # one program for all draws
    def draw(key, known):
        sampler = build_sampler(schedule, network, parts)
        shape = (ROWS, LENGTH)
        return run_sampler(key, sampler, None, shape=shape, mask_id=K, known=known)

    nothing = jnp.full_like(KNOWN, K)
    first, again, other = (draw(jax.random.key(seed), KNOWN) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    free = draw(jax.random.key(0), nothing)
    assert np.any(np.asarray(first) != other) or np.any(np.asarray(free) != first)
    for tokens in (first, other):
        np.testing.assert_array_equal(np.where(KNOWN == K, K, tokens), KNOWN)
    assert max(int(tokens.max()) for tokens in (first, other, free)) < K


def test_rules_with_steps_of_their_own_take_no_corrector():
    assert sorted(OWN_STEPS) == ["entropy", "first_hitting"]
