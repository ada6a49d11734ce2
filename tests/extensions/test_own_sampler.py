"""A sampler that is registered from outside, as docs/extending.md describes it."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import cdcd_jax as cdcd
from cdcd_jax.registry import SAMPLERS

CONFIG = "--config=tests/extensions/greedy_digits.py"


def test_a_sampler_from_outside_draws_evaluates_and_is_named(run_forked, tmp_path):
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--mode=train")
    assert code == 0, output
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--mode=sample", "--seed=3")
    assert code == 0, output
    assert len([*(tmp_path / "samples").glob("*greedy*seed3*.png")]) == 1
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--config.sample.sampler=gready")
    assert code == 2, output
    assert 'sample.sampler = "gready" is not a sampler: did you mean greedy' in output
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--config.sample.sampler=fast")
    assert code == 2, output
    assert 'sample.margin is not an option of sampler = "fast": there are skip' in output


class Constant(cdcd.samplers.Rule):
    def step(self, key, schedule, predict, state, s, t):
        return state._replace(zt=jnp.full_like(state.zt, 2))


def test_the_name_decides_what_is_drawn(monkeypatch):
    made = jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(Constant))
    monkeypatch.setitem(SAMPLERS._entries, "constant", made)
    schedule = cdcd.absorbing_schedule(num_steps=4, vocab_size=4)
    cond = jnp.zeros((2, 3, 4))

    def flat(zt, t, cond):
        return cond

    drawn = cdcd.sample(jax.random.key(0), schedule, flat, cond, shape=(2, 3), sampler="constant")
    assert drawn.tolist() == [[2, 2, 2], [2, 2, 2]]
    with pytest.raises(ValueError, match='sampler = "other" is not a sampler'):
        cdcd.sample(jax.random.key(0), schedule, flat, cond, shape=(2, 3), sampler="other")
