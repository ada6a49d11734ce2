"""A small noisy regression with everything a training run has, quick to compile."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.distributed.mesh import make_mesh, replicated
from cdcd_jax.training.checkpoints.manager import Checkpoints
from cdcd_jax.training.loop import LoopOptions, compile_step, train
from cdcd_jax.training.metrics import MetricsWriter
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import abstract_state, compute_state, init_state
from cdcd_jax.training.step import Objective, make_train_step

CONFIG = {"denoiser.width": 4, "optimizer.lr": 0.01}


class CountingBatches:
    """Batches that follow from their number alone; some of them may be poisoned."""

    def __init__(self, batch_size=8, bad=()):
        self.position, self.batch_size, self.bad = 0, batch_size, bad

    def __next__(self):
        x = np.random.default_rng(self.position).normal(size=(self.batch_size, 4))
        x = x.astype(np.float32)
        if self.position in self.bad:
            x[0, 0] = np.nan
        self.position += 1
        return {"x": x, "y": x @ np.arange(4, dtype=np.float32)}

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]


def init_fn(key):
    return {"w": jax.random.normal(key, (4,)), "b": jnp.zeros(())}


def squared_error(params, batch, stats):
    error = batch["x"] @ params["w"] + params["b"] + batch.get("noise", 0.0) - batch["y"]
    loss = jnp.mean(error**2)
    return loss, ({"vb": loss}, batch["x"])


def add_noise(key, batch, stats):
    return batch | {"noise": 0.1 * jax.random.normal(key, batch["y"].shape)}


def add_up(key, stats, seen):
    return {"seen": stats["seen"] + jnp.sum(seen)}, {}


objective = Objective(squared_error, add_noise, add_up)
deterministic = Objective(squared_error, update=add_up)


@functools.cache
def make_run(num_microbatches=1, objective_fn=objective, max_skipped=0, **optimizer_options):
    """Return the functions of a run; the same for the same options, so that they compile once."""
    options = {"lr": 0.05, "num_steps": 20, "warmup_steps": 2} | optimizer_options
    optimizer = make_optimizer(**options)

    def fresh():
        return init_state(jax.random.key(0), init_fn, optimizer, {"seen": jnp.zeros(())})

    step = make_train_step(
        objective_fn,
        optimizer,
        num_microbatches=num_microbatches,
        ema_decay=0.9,
        ema_every=2,
        max_skipped=max_skipped,
    )
    return fresh, step


def run(
    workdir: Path,
    num_steps,
    *,
    bad=(),
    max_skipped=0,
    config=None,
    devices=1,
    report=print,
    keep=2,
    num_microbatches=1,
    checkpoint_every=2,
    preprocess=lambda batch: batch,
    profile=None,
    hook=None,
    **loop,
):
    """Train in a folder the way the command line does: resume if there is something to resume."""
    mesh = make_mesh(jax.devices()[:devices])
    fresh, step = make_run(num_microbatches, max_skipped=max_skipped)
    batches = CountingBatches(bad=bad)
    with Checkpoints(workdir / "checkpoints", compatibility=config or CONFIG, keep=keep) as saved:
        found = saved.restore(abstract_state(fresh, replicated(mesh)), report=report)
        seconds = 0.0
        if found is None:
            state = compute_state(fresh, replicated(mesh))
        else:
            state, position = found
            batches.set_state(position.data)
            seconds = position.train_seconds
        with MetricsWriter(workdir, step=int(state.step)) as writer:
            return train(
                compile_step(step, mesh),
                state,
                batches,
                options=LoopOptions(
                    num_steps=num_steps, log_every=5, checkpoint_every=checkpoint_every, **loop
                ),
                mesh=mesh,
                checkpoints=saved,
                writer=writer,
                train_seconds=seconds,
                preprocess=preprocess,
                profile=profile,
                hook=hook,
            )


def leaves(state):
    """Return every leaf of a state as bytes-comparable arrays."""
    flat = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        flat[jax.tree_util.keystr(path)] = np.asarray(leaf)
    return flat


def assert_same(state, other):
    ours, theirs = leaves(state), leaves(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
