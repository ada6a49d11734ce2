"""A real experiment takes the same steps on one device and on eight, however they are arranged."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.build.experiment import build
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.partition import by_name
from cdcd_jax.training.sharding import make_mesh, place_batch, replicated
from cdcd_jax.training.state import compute_state

MESHES = ({"data": 8}, {"tensor": 2}, {"fsdp": 8}, {"fsdp": 2, "tensor": 2})


@pytest.mark.slow
@pytest.mark.quick_compilation
def test_eight_devices_are_one_over_twenty_steps():
    losses, params = train_on(jax.devices()[:1])
    for sizes in MESHES:
        sharded_losses, sharded_params = train_on(jax.devices()[:8], **sizes)
        np.testing.assert_allclose(sharded_losses, losses, rtol=1e-5, err_msg=str(sizes))
        for name, value in params.items():
            # A softmax does not feel a bias of its keys: its gradient is rounding alone.
            atol = 1e-5 * np.abs(value).max() + 1e-6 * name.endswith("key.bias")
            np.testing.assert_allclose(
                sharded_params[name], value, rtol=0, atol=atol, err_msg=f"{sizes} {name}"
            )


def train_on(devices, **sizes):
    config = importlib.import_module("configs.digits_step_intra").get_config("smoke")
    mesh = make_mesh(devices, **sizes)
    training = build(config.lock(), Path("none"), mesh=mesh).training
    shardings = training.shardings()
    state = compute_state(training.init_state, shardings)
    step = compile_step(training.train_step, mesh, shardings)
    batches, losses = training.make_batches(), []
    for _ in range(20):
        state, metrics = step(state, place_batch(next(batches), mesh))
        losses.append(float(metrics["loss"]))
    split = [leaf for leaf in jax.tree.leaves(state.params) if not leaf.is_fully_replicated]
    assert bool(split) == (mesh.shape["fsdp"] * mesh.shape["tensor"] > 1)
    whole = jax.jit(lambda params: params, out_shardings=replicated(mesh))(state.params)
    return losses, by_name(jax.device_get(whole))
