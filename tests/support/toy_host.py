"""One host of a run small enough to be started and killed often: ``toy_host.py WORKDIR ...``.

It joins, restores, trains, saves, stops and fails the way the command line does. Or it reads, as
sampling and evaluating do, again and again beside such a training.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from cdcd_jax.cli.failures import fail
from cdcd_jax.distributed.hosts import join_hosts
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.training.checkpoints.folder import CheckpointError
from cdcd_jax.training.loop import LoopOptions
from cdcd_jax.training.run import Training, load_training, run_training
from cdcd_jax.training.stopping import Stopper
from tests.support.small_runs import MAKERS, digest, name_arrays
from tests.support.toy_run import CONFIG

STUCK_AT = 6
"""Batch that the host of ``--stuck_on`` never finds; those before are slow."""

DIGESTS = "digests.jsonl"
"""File of a run with the digest of its state at each checkpoint."""


def parse(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--num_hosts", type=int)
    parser.add_argument("--host_index", type=int)
    parser.add_argument("--what", choices=list(MAKERS), default="toy")
    parser.add_argument("--num_steps", type=int, default=60)
    parser.add_argument("--checkpoint_every", type=int, default=3)
    parser.add_argument("--host_timeout", type=int, default=60)
    parser.add_argument("--heartbeat_timeout", type=int, default=60)
    parser.add_argument("--host_stuck_timeout", type=int, default=60)
    parser.add_argument("--stuck_on", type=int)
    parser.add_argument("--fsdp", type=int, default=1)
    parser.add_argument("--unreadable_on", type=int)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--digests", action="store_true", help="write them")
    parser.add_argument("--read", type=Path, help="read instead, and compare with these digests")
    return parser.parse_args(argv)


class SlowBatches:
    """This host's rows of batches that follow from their number, after a pause for signals."""

    def __init__(self, draw_batch, pause, stuck):
        self.position, self.draw_batch = 0, draw_batch
        self.pause, self.stuck = pause, stuck

    def __next__(self):
        time.sleep(self.pause)
        if self.stuck:
            time.sleep(1.0 if self.position < STUCK_AT else 1000)  # slow, then stuck
        rows = self.draw_batch(self.position)
        self.position += 1
        index, count = jax.process_index(), jax.process_count()
        return {name: np.split(array, count)[index] for name, array in rows.items()}

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]


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
    small = MAKERS[arguments.what]()
    training = Training(
        mesh=make_mesh(fsdp=arguments.fsdp),
        rules=((r"w$", ("fsdp",)),) if arguments.what == "toy" else (),
        init_state=small.init_state,
        train_step=small.train_step,
        make_batches=lambda: SlowBatches(
            small.draw_batch, arguments.pause, stuck=jax.process_index() == arguments.stuck_on
        ),
        batch_size=8,
        loop=LoopOptions(
            num_steps=arguments.num_steps,
            log_every=5,
            checkpoint_every=arguments.checkpoint_every,
            sample_every=arguments.checkpoint_every if arguments.digests else 0,
        ),
        keep_checkpoints=2,
        compatibility=CONFIG,
    )
    if arguments.read:
        read(small, training, arguments.workdir, arguments.read)

    def write_digest(state):
        found = digest(name_arrays(state))
        if jax.process_index() == 0:
            with (arguments.workdir / DIGESTS).open("a") as file:
                file.write(json.dumps({"step": int(state.step), "digest": found}) + "\n")

    state, _ = run_training(training, arguments.workdir, stopper, hook=write_digest)
    arrays = name_arrays(state)
    if jax.process_index() == 0:
        np.savez(arguments.workdir / "state.npz", **arrays)


def read(small, training, workdir, digests):
    """Read the newest checkpoint until this process is ended; a line says what came of each."""
    lines = map(json.loads, digests.read_text().splitlines())
    wanted = {line["step"]: line["digest"] for line in lines}
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.3)
        try:
            state, _ = load_training(training, workdir)
        except CheckpointError as error:
            early = "there is no checkpoint" in str(error)
            print("EARLY" if early else f"FAILED {error}", flush=True)
            continue
        finite = all(np.isfinite(np.asarray(array)).all() for array in small.inspect(state))
        same = digest(name_arrays(state)) == wanted[int(state.step)]
        print("SAME" if same and finite else f"DIFFERENT at {int(state.step)}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        main(sys.argv[1:])
    except Exception as error:
        fail(error)
