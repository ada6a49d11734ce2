"""Several hosts on one machine: processes that join over its own network."""

import os
import signal
import socket
import time
from pathlib import Path

from tests.support.fork_server import shared_server
from tests.support.quick_compile import quick_environment

ROOT = Path(__file__).parent.parent.parent
TOY = ROOT / "tests" / "support" / "toy_host.py"


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def environment(num_devices=1, compiled=None):
    """Return what a host of so many devices is started with."""
    given = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=str(ROOT))
    given |= quick_environment(num_devices)
    if compiled is not None:
        given |= {
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    return given


class Hosts:
    """Hosts of one run that have been started.

    Args:
        command: What each of them runs, a program and its arguments, less the flags that say which
            it is.
        logs: Folder of their outputs.
        num_hosts: How many there are.
        start: Which of them to start; all by default.
        **options: Of ``environment``.
    """

    def __init__(self, command, logs, *, num_hosts=2, start=None, flags=(), **options):
        logs.mkdir(parents=True, exist_ok=True)
        self.logs, self.processes = logs, {}
        self.coordinator = f"localhost:{free_port()}"
        program, *arguments = command
        for index in range(num_hosts) if start is None else start:
            place = [f"--coordinator={self.coordinator}", f"--num_hosts={num_hosts}"]
            place = [] if num_hosts == 1 else [*place, f"--host_index={index}"]
            self.processes[index] = shared_server().popen(
                [*arguments, *place, *flags],
                program=program,
                stdout=logs / f"host{index}.log",
                env=environment(**options),
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def output(self, index):
        return (self.logs / f"host{index}.log").read_text(errors="replace")

    def last_line(self, index):
        return (self.output(index).replace("\r", "\n").strip().splitlines() or [""])[-1]

    def outputs(self):
        return "\n".join(f"--- host {index}\n{self.output(index)}" for index in self.processes)

    def wait(self, timeout, only=None):
        """Return the exit codes; a host that does not end in time fails the test."""
        deadline = time.monotonic() + timeout
        for index in self.processes if only is None else only:
            try:
                self.processes[index].wait(max(deadline - time.monotonic(), 0.01))
            except TimeoutError:
                raise AssertionError(
                    f"host {index} still runs after {timeout} s\n{self.outputs()}"
                ) from None
        return {i: p.returncode for i, p in self.processes.items() if p.returncode is not None}

    def wait_for(self, condition, timeout=90):
        """Wait until something is true, while all hosts run."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert all(p.poll() is None for p in self.processes.values()), self.outputs()
            assert time.monotonic() < deadline, self.outputs()
            time.sleep(0.01)

    def send(self, index, number=signal.SIGKILL):
        self.processes[index].send_signal(number)
