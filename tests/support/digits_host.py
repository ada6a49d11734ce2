"""One host of two that take twenty steps of a real experiment: ``digits_host.py FILE ...``."""

import argparse
import importlib
from pathlib import Path

import jax
import numpy as np

from cdcd_jax.distributed.hosts import join_hosts
from cdcd_jax.distributed.mesh import make_mesh, place_batch, replicated
from cdcd_jax.distributed.partition import by_name
from cdcd_jax.experiment.experiment import build
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.state import compute_state

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--coordinator")
parser.add_argument("--num_hosts", type=int)
parser.add_argument("--host_index", type=int)
parser.add_argument("--fsdp", type=int, default=1)
parser.add_argument("--tensor", type=int, default=1)


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


if __name__ == "__main__":
    given = parser.parse_args()
    join_hosts(given.coordinator, given.num_hosts, given.host_index, timeout=120)
    losses, params = train_on(jax.devices(), fsdp=given.fsdp, tensor=given.tensor)
    if jax.process_index() == 0:
        np.savez(given.file, losses=losses, **params)
