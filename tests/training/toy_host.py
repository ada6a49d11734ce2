"""One host of a run small enough to be started and killed often: ``toy_host.py WORKDIR ...``.

It joins, restores, trains, saves, stops and fails the way the command line does.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp
from toy_run import CONFIG, CountingBatches, make_run

from cdcd_jax.failures import fail
from cdcd_jax.training.hosts import join_hosts
from cdcd_jax.training.loop import LoopOptions
from cdcd_jax.training.run import Training, run_training
from cdcd_jax.training.sharding import make_mesh
from cdcd_jax.training.stopping import Stopper

STUCK_AT = 6
"""Batch that the host of ``--stuck_on`` never finds; those before are slow."""


def parse(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--num_hosts", type=int)
    parser.add_argument("--host_index", type=int)
    parser.add_argument("--num_steps", type=int, default=60)
    parser.add_argument("--checkpoint_every", type=int, default=3)
    parser.add_argument("--host_timeout", type=int, default=60)
    parser.add_argument("--heartbeat_timeout", type=int, default=60)
    parser.add_argument("--host_stuck_timeout", type=int, default=60)
    parser.add_argument("--stuck_on", type=int)
    parser.add_argument("--fsdp", type=int, default=1)
    parser.add_argument("--unreadable_on", type=int)
    parser.add_argument("--pause", type=float, default=0.0)
    return parser.parse_args(argv)


class SlowBatches(CountingBatches):
    """This host's rows of batches that follow from their number, after a pause for signals."""

    def __init__(self, pause, stuck):
        super().__init__(batch_size=8)
        self.pause, self.stuck = pause, stuck

    def __next__(self):
        time.sleep(self.pause)
        if self.stuck:
            time.sleep(1.0 if self.position < STUCK_AT else 1000)  # slow, then stuck
        rows = super().__next__()
        index, count = jax.process_index(), jax.process_count()
        return {name: np.split(array, count)[index] for name, array in rows.items()}


def make_newest_unreadable():
    """Let the first read of this host alone fail, as one disk of a storage may."""
    read = ocp.load_checkpointables

    def fail_once(*arguments):
        ocp.load_checkpointables = read
        read(*arguments)
        raise OSError("cannot be read from here")

    ocp.load_checkpointables = fail_once


def main(argv):
    arguments = parse(argv)
    logging.set_verbosity(logging.FATAL)
    if arguments.host_index is not None and arguments.host_index == arguments.unreadable_on:
        make_newest_unreadable()
    place = {name: getattr(arguments, name) for name in ("coordinator", "num_hosts", "host_index")}
    stopper = Stopper()
    stopper.others = join_hosts(
        **place,
        timeout=arguments.host_timeout,
        heartbeat_timeout=arguments.heartbeat_timeout,
        stuck_timeout=arguments.host_stuck_timeout,
    )
    fresh, step = make_run()
    training = Training(
        mesh=make_mesh(fsdp=arguments.fsdp),
        rules=((r"w$", ("fsdp",)),),
        init_state=fresh,
        train_step=step,
        make_batches=lambda: SlowBatches(
            arguments.pause, stuck=jax.process_index() == arguments.stuck_on
        ),
        batch_size=8,
        loop=LoopOptions(
            num_steps=arguments.num_steps,
            log_every=5,
            checkpoint_every=arguments.checkpoint_every,
        ),
        keep_checkpoints=2,
        fingerprint=CONFIG,
    )
    state, _ = run_training(training, arguments.workdir, stopper)
    write_state(state, arguments.workdir)


def write_state(state, workdir):
    """Write all arrays, from one host, where they are whole on each of its devices."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        arrays[jax.tree_util.keystr(path)] = np.asarray(
            multihost_utils.process_allgather(leaf, tiled=True)
        )
    if jax.process_index() == 0:
        np.savez(workdir / "state.npz", **arrays)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        main(sys.argv[1:])
    except Exception as error:
        fail(error)
