"""A real experiment on eight devices takes the steps that it takes on one."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.build.experiment import build
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.sharding import make_mesh, place_batch, replicated
from cdcd_jax.training.state import compute_state

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("num_microbatches", [1, 2])
def test_eight_devices_are_one(monkeypatch, tmp_path, num_microbatches):
    monkeypatch.syspath_prepend(str(ROOT))
    config = importlib.import_module("configs.digits_step_intra").get_config("smoke")
    config.train.num_microbatches = num_microbatches
    seen = []
    for num_devices in (1, 8):
        mesh = make_mesh(jax.devices()[:num_devices])
        experiment = build(config.lock(), tmp_path, mesh=mesh)
        state = compute_state(experiment.training.init_state, replicated(mesh))
        step = compile_step(experiment.training.train_step, mesh)
        batches = experiment.training.make_batches()
        for _ in range(2):
            state, metrics = step(state, place_batch(next(batches), mesh))
        assert all(len(x.sharding.device_set) == num_devices for x in jax.tree.leaves(state))
        seen.append(jax.device_get((state.params, state.stats, metrics)))
    for one, eight in zip(*map(jax.tree.leaves, seen), strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-5)
