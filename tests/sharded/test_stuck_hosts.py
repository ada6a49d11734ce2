"""A host that is alive but stuck ends the others, and they name it; a slow one is left alone."""

import contextlib
import signal
import time

import pytest

from tests.support.checkpoint_steps import newest_step
from tests.support.hosts import TOY, Hosts

TIMEOUT, HEARTBEAT = 3, 6
BOUND = 60
"""Seconds until all must have ended, on a loaded machine."""


@pytest.mark.slow
def test_a_host_that_is_stuck_or_stopped_ends_the_other_with_its_name(tmp_path):
    """Four runs side by side, as most of their time is waiting; each loses another host."""
    flags = (f"--host_stuck_timeout={TIMEOUT}", f"--heartbeat_timeout={HEARTBEAT}")
    compiled = tmp_path / "compiled"
    with contextlib.ExitStack() as stack:

        def start(name, *more):
            command = [TOY, tmp_path / name, *flags, *more]
            return stack.enter_context(Hosts(command, tmp_path / f"{name}_logs", compiled=compiled))

        def wait_for_step(hosts, name, step):
            hosts.wait_for(lambda: newest_step(tmp_path / name / "checkpoints") >= step)

        stuck = [start(f"stuck{victim}", f"--stuck_on={victim}") for victim in (0, 1)]
        stopped = [start(f"stopped{victim}", "--pause=0.1") for victim in (0, 1)]
        for victim, hosts in enumerate(stopped):
            wait_for_step(hosts, f"stopped{victim}", 3)
            hosts.send(victim, signal.SIGSTOP)
        for victim, hosts in enumerate(stuck):
            wait_for_step(hosts, f"stuck{victim}", 6)  # a second for each: slow is not stuck
        deadline = time.monotonic() + BOUND
        for victim, hosts in enumerate(stuck):
            assert hosts.wait(deadline - time.monotonic()) == {0: 1, 1: 1}, hosts.outputs()
            for index in (0, 1):
                said = hosts.last_line(index)
                assert said.startswith(f"Error on host {index}: host {victim} of 2 has made no ")
                assert "reading the batch of step 7 (__next__ in toy_host.py:" in said
        for victim, hosts in enumerate(stopped):
            code = hosts.wait(deadline - time.monotonic(), only=[1 - victim])[1 - victim]
            assert code == -signal.SIGABRT, hosts.outputs()  # by JAX's heartbeats
            warning = f"Warning on host {1 - victim}: host {victim} has not been heard of for"
            assert hosts.output(1 - victim).count(warning) == 1
