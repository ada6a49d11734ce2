"""Flags and environments of many hosts that are wrong, and hosts that do not come."""

import socket
from collections.abc import Iterator

from tests.adversarial.cases import Case
from tests.adversarial.commands import TINY, command

TWO = ("--num_hosts=2", "--host_index=0", "--host_timeout=2")

ADDRESSES = {
    "empty": "",
    "without a port": "localhost",
    "with an empty port": "localhost:",
    "with a port that is a word": "localhost:http",
    "with port 0": "localhost:0",
    "with a negative port": "localhost:-1",
    "with a port beyond the last": "localhost:65536",
    "with a huge port": f"localhost:{10**30}",
    "without a host": ":12345",
    "with two ports": "localhost:1:2",
    "a URL": "http://localhost:12345",
    "with a space": "local host:12345",
    "of 100,000 letters": f"{'x' * 100_000}:12345",
    "with a fraction": "localhost:12345.5",
}
FLAGS = {
    "no hosts": (("--num_hosts=0", "--host_index=0"), "num_hosts"),
    "a negative number of hosts": (("--num_hosts=-2", "--host_index=0"), "num_hosts"),
    "hosts are a word": (("--num_hosts=two", "--host_index=0"), "num_hosts"),
    "half a host": (("--num_hosts=1.5", "--host_index=0"), "num_hosts"),
    "hosts are NaN": (("--num_hosts=nan", "--host_index=0"), "num_hosts"),
    "no number of hosts": (("--num_hosts=", "--host_index=0"), "num_hosts"),
    "10**30 hosts": ((f"--num_hosts={10**30}", "--host_index=0", "--host_timeout=2"), "num_hosts"),
    "a host beyond the last": (("--num_hosts=2", "--host_index=2"), "host_index"),
    "a negative host": (("--num_hosts=2", "--host_index=-1"), "host_index"),
    "a host that is a word": (("--num_hosts=2", "--host_index=first"), "host_index"),
    "a host of 10**30": (("--num_hosts=2", f"--host_index={10**30}"), "host_index"),
    "a second host of one": (("--num_hosts=1", "--host_index=1"), "host_index"),
    "no time": (("--num_hosts=2", "--host_index=0", "--host_timeout=0"), "host_timeout"),
    "negative time": (("--num_hosts=2", "--host_index=0", "--host_timeout=-5"), "host_timeout"),
    "a time that is a word": (("--num_hosts=2", "--host_timeout=soon"), "host_timeout"),
    "infinite time": (("--num_hosts=2", "--host_index=0", "--host_timeout=inf"), "host_timeout"),
    "a time of 10**30": (
        ("--num_hosts=2", "--host_index=0", f"--host_timeout={10**30}"),
        "host_timeout",
    ),
}
MISSING = {
    "the coordinator": (("--num_hosts=2", "--host_index=0"), "coordinator"),
    "the number of hosts": (("--coordinator=localhost:1234", "--host_index=0"), "num_hosts"),
    "the host's index": (("--coordinator=localhost:1234", "--num_hosts=2"), "host_index"),
    "all but the index": (("--host_index=1",), "coordinator"),
    "all but the coordinator": (("--coordinator=localhost:1234",), "num_hosts"),
}
SLURM = {"SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "2"}
ENVIRONMENTS = {
    "Slurm's tasks are a word": SLURM | {"SLURM_STEP_NUM_TASKS": "two"},
    "Slurm's tasks are empty": SLURM | {"SLURM_STEP_NUM_TASKS": ""},
    "Slurm says no task's number": SLURM,
    "Slurm's node is a word": SLURM | {"SLURM_NTASKS": "2", "SLURM_PROCID": "first"},
    "Slurm's list of nodes is broken": SLURM
    | {"SLURM_STEP_NODELIST": "node[1-", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
    "Open MPI's size is a word": {"OMPI_COMM_WORLD_SIZE": "two"},
    "Open MPI says its size only": {"OMPI_COMM_WORLD_SIZE": "2"},
}


def cases() -> Iterator[Case]:
    """Yield the table."""
    for name, address in ADDRESSES.items():
        yield command(f"a coordinator {name}", *TINY, *TWO, f"--coordinator={address}",
                      says="coordinator")  # fmt: skip
    for name, (flags, says) in FLAGS.items():
        yield command(name, *TINY, *flags, "--coordinator=localhost:12345", says=says)
    for name, (flags, says) in MISSING.items():
        yield command(f"without {name}", *TINY, *flags, says=says)
    for name, variables in ENVIRONMENTS.items():
        yield command(name, *TINY, "--host_timeout=2", environment=variables, codes=(1, 2),
                      says="--coordinator")  # fmt: skip
    yield command("a host that does not come", *TINY, *TWO, f"--coordinator=localhost:{_port()}",
                  codes=1, says="host 1", limit=30)  # fmt: skip
    yield command("a first host that does not come", *TINY, "--num_hosts=2", "--host_index=1",
                  "--host_timeout=2", f"--coordinator=localhost:{_port()}", codes=1,
                  says="host 0", limit=30)  # fmt: skip
    yield command("a million hosts that do not come", *TINY, "--num_hosts=1000000",
                  "--host_index=0", "--host_timeout=2", f"--coordinator=localhost:{_port()}",
                  codes=(1, 2), says="host", limit=30)  # fmt: skip
    yield command("a coordinator whose name nobody knows", *TINY, *TWO, "--host_index=1",
                  "--coordinator=nowhere.invalid:12345", codes=(1, 2), says="nowhere.invalid",
                  limit=30)  # fmt: skip
    yield command("a coordinator's address that is another machine's", *TINY, *TWO,
                  "--coordinator=192.0.2.1:12345", codes=(1, 2), limit=30,
                  says="192.0.2.1")  # fmt: skip
    yield command("a coordinator's port that is taken", *TINY, *TWO, "--coordinator=localhost:1",
                  codes=(1, 2), limit=30, says="localhost:1")  # fmt: skip
    yield command("one host of one", *TINY, "--mode=sample", "--num_hosts=1", "--host_index=0",
                  "--coordinator=localhost:1234", codes=1, says="checkpoint")  # fmt: skip


def _port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]
