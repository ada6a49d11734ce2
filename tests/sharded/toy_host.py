"""One host of a run small enough to be started and killed often: ``python toy_host.py WORKDIR ...``.

It joins, restores, trains, saves, stops and fails the way the command line does.
"""

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent / "training")]

import jax
import jax.numpy as jnp
import numpy as np
from toy_run import CONFIG, CountingBatches, make_run

from cdcd_jax.training.hosts import ending_alone, join_hosts
from cdcd_jax.training.loop import LoopOptions
from cdcd_jax.training.run import Training, run_training
from cdcd_jax.training.sharding import make_mesh
from cdcd_jax.training.stopping import Stopper


def parse(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--num_hosts", type=int)
    parser.add_argument("--host_index", type=int)
    parser.add_argument("--num_steps", type=int, default=60)
    parser.add_argument("--checkpoint_every", type=int, default=3)
    parser.add_argument("--heartbeat_timeout", type=int, default=60)
    parser.add_argument("--pause", type=float, default=0.0)
    return parser.parse_args(argv)


class SlowBatches(CountingBatches):
    """This host's rows of batches that follow from their number, after a pause for signals."""

    def __init__(self, pause):
        super().__init__(batch_size=8)
        self.pause = pause

    def __next__(self):
        time.sleep(self.pause)
        rows = super().__next__()
        index, count = jax.process_index(), jax.process_count()
        return {name: np.split(array, count)[index] for name, array in rows.items()}


def main(argv):
    arguments = parse(argv)
    place = {name: getattr(arguments, name) for name in ("coordinator", "num_hosts", "host_index")}
    others = join_hosts(**place, timeout=60, heartbeat_timeout=arguments.heartbeat_timeout)
    stopper = Stopper(others=others)
    fresh, step = make_run()
    training = Training(
        mesh=make_mesh(),
        init_state=fresh,
        train_step=step,
        make_batches=lambda: SlowBatches(arguments.pause),
        loop=LoopOptions(
            num_steps=arguments.num_steps,
            log_every=5,
            checkpoint_every=arguments.checkpoint_every,
        ),
        keep_checkpoints=2,
        fingerprint=CONFIG,
    )
    with ending_alone(others):
        state, _ = run_training(training, arguments.workdir, stopper)
        write_state(state, arguments.workdir)


def write_state(state, workdir):
    """Write all arrays, from one host, where they are whole on each of its devices."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        arrays[jax.tree_util.keystr(path)] = np.asarray(leaf.addressable_data(0))
    if jax.process_index() == 0:
        np.savez(workdir / "state.npz", **arrays)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main(sys.argv[1:])
