"""Training on texts: what stands for none is learned too, guides samples, and is seen frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.condition import text_condition
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.diffusion.timesteps import init_timestep_stats
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.training.generation import make_sample_fn
from cdcd_jax.training.model import make_model
from cdcd_jax.training.objective import make_objective
from tests.support.toy_run import assert_same, run

VOCAB, T, GRID, LENGTH = 5, 4, (2, 2), 3
SCHEDULE = mask_replace_schedule(num_steps=T, vocab_size=VOCAB)
TEXTS = jnp.arange(16 * LENGTH).reshape(16, LENGTH) % 9
TOKENS = jnp.arange(16 * 4).reshape(16, 4) % VOCAB


def make(dropout, null="learned"):
    network = make_denoiser(
        vocab_size=VOCAB,
        num_steps=T,
        grid=GRID,
        condition="cross",
        cond_dim=8,
        num_layers=1,
        width=8,
        num_heads=2,
    )
    condition = text_condition(
        vocab_size=9,
        length=LENGTH,
        width=8,
        num_layers=1,
        num_heads=2,
        null=null,
        empty=np.zeros(LENGTH, np.int32),
    )
    return make_model(network, condition, dropout=dropout)


@pytest.fixture(scope="module")
def params():
    """Parameters of which none is zero, as after some training."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(make(0.5).init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), jnp.float32), shapes
    )


def test_the_text_and_the_null_condition_are_learned(params):
    objective = make_objective(SCHEDULE, make(0.5), grid=GRID)
    batch, stats = {"tokens": TOKENS, "cond": TEXTS}, init_timestep_stats(T)
    gradient = jax.jit(jax.grad(lambda params, key: objective(key, params, batch, stats)[0]))
    found = gradient(params, jax.random.key(2))["condition"]
    assert (jnp.abs(found["null"]).max(axis=1) > 0).all()  # every place of it
    flat = jax.tree_util.tree_leaves_with_path(found["encoder"])
    assert len(flat) > 10
    still = [jax.tree_util.keystr(path) for path, leaf in flat if not jnp.abs(leaf).max() > 0]
    assert still == []


def test_about_the_share_of_conditions_is_dropped_anew_in_each_step():
    def draw(dropout, number):
        objective = make_objective(SCHEDULE, make(dropout), grid=GRID)
        return objective.draw(jax.random.key(number), {"tokens": tokens}, None)

    tokens = jnp.zeros((160, GRID[0] * GRID[1]), jnp.int32)
    dropped = [np.asarray(draw(0.5, number)["dropped"]) for number in range(2)]
    assert all(50 < each.sum() < 110 for each in dropped)  # of 160, 80 +- 5 standard deviations
    assert (dropped[0] != dropped[1]).any()
    assert make(0.0).null is None
    assert "dropped" not in draw(0.0, 0)


SAMPLING = {"num_steps": 2, "truncation": 1.0, "top_k": None, "temperature": 1.0}


def test_guidance_1_is_none_and_0_forgets_the_text(params):
    texts = jnp.tile(TEXTS, (4, 1))

    sample_fns = {
        dropout: make_sample_fn(SCHEDULE, make(dropout), length=4) for dropout in (0.0, 0.5)
    }

    def drawn(dropout, texts=texts, **options):
        return sample_fns[dropout](params, jax.random.key(3), texts, **SAMPLING, **options)

    own = drawn(0.5, guidance=1.0)
    np.testing.assert_array_equal(own, drawn(0.0))
    deaf = drawn(0.5, guidance=0.0)
    np.testing.assert_array_equal(deaf, drawn(0.5, texts[::-1], guidance=0.0))
    assert (deaf != own).any()
    assert (drawn(0.5, guidance=8.0) != own).any()


def test_a_model_that_never_lacked_its_condition_cannot_be_guided(params):
    sample_fn = make_sample_fn(SCHEDULE, make(0.0), length=4)
    with pytest.raises(ValueError, match=r"guidance = 2\.0 needs a model that was trained without"):
        sample_fn(params, jax.random.key(3), TEXTS, guidance=2.0, **SAMPLING)
    with pytest.raises(ValueError, match=r"guidance = -2\.0 must be at least 0"):
        sample_fn(params, jax.random.key(3), TEXTS, guidance=-2.0, **SAMPLING)


def test_the_step_takes_what_frozen_networks_make_of_a_batch(tmp_path):
    seen = []

    def preprocess(batch):
        assert all(isinstance(rows, jax.Array) for rows in batch.values())
        seen.append(batch["x"])
        return {"x": -batch["x"], "y": batch["y"]}

    plain, _ = run(tmp_path / "plain", 3)
    state, _ = run(tmp_path / "seen", 3, preprocess=preprocess)
    assert len(seen) == 3
    total = sum(np.asarray(rows).sum() for rows in seen)
    np.testing.assert_allclose(plain.stats["seen"], total, rtol=1e-5)
    np.testing.assert_allclose(state.stats["seen"], -total, rtol=1e-5)
    # Going on from a checkpoint sees as well.
    again, _ = run(tmp_path / "parts", 2, preprocess=preprocess)
    assert int(again.step) == 2
    again, _ = run(tmp_path / "parts", 3, preprocess=preprocess)
    assert_same(again, state)
