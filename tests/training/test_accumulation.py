"""Four microbatches of 16 are one batch of 64 for a real experiment, noise and all."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import make_mesh, place_batch, replicated
from cdcd_jax.experiment.experiment import build
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.state import compute_state

ROOT = Path(__file__).parent.parent.parent
NUM_STEPS, LR = 20, 2e-3
CASES = {
    "vanilla": ("digits_vanilla", {"condition.dropout": 0.2}),
    "shared": ("digits_step_intra", {"loss.contrast_steps": 5}),
    "parallel": ("digits_step_inter", {"loss.chains": "parallel"}),
    "sample": ("digits_sample_inter", {"loss.negatives": "both"}),
}


def trained(name, changes, num_microbatches):
    """Return the losses of some steps, and the parameters and statistics after them."""
    config = importlib.import_module(f"configs.{name}").get_config("smoke")
    config.update_from_flattened_dict(changes)
    config.train.update(batch_size=64, num_microbatches=num_microbatches)
    config.optimizer.lr = LR
    mesh = make_mesh(jax.devices()[:1])
    training = build(config.lock(), Path("none"), mesh=mesh).training
    state = compute_state(training.init_state, replicated(mesh))
    step = compile_step(training.train_step, mesh)
    batches, losses = training.make_batches(), []
    for _ in range(NUM_STEPS):
        state, metrics = step(state, place_batch(next(batches), mesh))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get((state.params, state.stats))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_four_microbatches_of_16_are_one_batch_of_64(monkeypatch, case):
    monkeypatch.syspath_prepend(str(ROOT))
    whole, (params, stats) = trained(*CASES[case], 1)
    parts, (params_of_parts, stats_of_parts) = trained(*CASES[case], 4)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    np.testing.assert_array_equal(stats_of_parts.count, stats.count)
    np.testing.assert_allclose(stats_of_parts.second_moment, stats.second_moment, rtol=1e-4)
    # The gradient of the keys' biases is zero but for rounding, which Adam blows up to a share of
    # its step: a bias may be off by a thousandth of one step, whatever its own size.
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(params_of_parts), jax.tree.leaves(params), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3 * LR, err_msg=name)
