"""Commands without their imports: a Python that knows ``cdcd_jax.main`` forks once for each.

Importing JAX and the package takes some three seconds of processor, a fork some milliseconds. No
JAX backend is started before the fork, so a child has one of its own, as if it had come by
``python -m cdcd_jax.main``, or by ``python FILE`` for a program of the tests: environment, folder,
output, signals and exit code are its own. What it shares with its siblings is what was imported,
and so the seed of Python's hashes.
"""

import atexit
import functools
import gc
import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATER = (
    "sklearn.discriminant_analysis",
    "sklearn.linear_model",
    "matplotlib.pyplot",
    "scipy.linalg",
    "jax.experimental.multihost_utils",
)
"""Modules that a run imports while it goes on."""


class ForkServer:
    """Fork commands off a Python that has imported everything; leave it by ``close``."""

    def __init__(self):
        environment = {
            name: os.environ[name] for name in os.environ if name[:4] not in ("JAX_", "XLA_")
        }
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        )
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for pytest, which then closes this
        )
        self._lock = threading.Lock()
        self._started: dict[int, Command] = {}
        self._number = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def popen(
        self,
        arguments: Sequence[str],
        *,
        stdout: Path,
        stderr: Path | None = None,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        program: Path | None = None,
        timeout: float = 120.0,
    ) -> "Command":
        """Start ``python -m cdcd_jax.main``, or a program, with arguments.

        Args:
            arguments: What follows ``cdcd_jax.main``.
            stdout: File for its output; added to.
            stderr: File for its errors; with the output by default.
            cwd: Its folder.
            env: Its whole environment; this process's by default.
            limits: Names of ``resource`` and how much of each it may use.
            program: File to run instead of ``cdcd_jax.main``.
            timeout: Seconds until it must have started, the server's imports among them.

        Returns:
            What to wait for.
        """
        command = Command(stdout)
        with self._lock:
            self._number += 1
            self._started[self._number] = command
            request = {
                "number": self._number,
                "arguments": [str(argument) for argument in arguments],
                "stdout": str(stdout),
                "stderr": str(stderr or stdout),
                "cwd": str(cwd),
                "env": dict(os.environ if env is None else env),
                "limits": dict(limits or {}),
                "program": program and str(program),
            }
            assert self._server.stdin is not None
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
        if not command.has_started.wait(timeout):
            raise TimeoutError(f"no command was started in {timeout} s")
        return command

    def close(self) -> None:
        """End the server; kill what still runs."""
        for command in self._started.values():
            command.kill()
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            event = json.loads(line)
            command = self._started[event["number"]]
            if "pid" in event:
                command.pid = event["pid"]
                command.has_started.set()
            else:
                command.returncode = event["code"]
                command.has_ended.set()


@functools.cache
def shared_server() -> ForkServer:
    """Return the server of all tests of this process, which is closed at its end."""
    server = ForkServer()
    atexit.register(server.close)
    return server


class Command:
    """A command that was started, much like a ``subprocess.Popen``.

    Attributes:
        pid: Its process.
        stdout: File of its output.
        returncode: Exit code, or minus the signal that ended it; None while it runs.
    """

    def __init__(self, stdout: Path):
        self.pid, self.stdout = 0, stdout
        self.returncode: int | None = None
        self.has_started, self.has_ended = threading.Event(), threading.Event()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code."""
        if not self.has_ended.wait(timeout):
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        assert self.returncode is not None
        return self.returncode

    def finish(self, timeout: float = 300.0) -> str:
        """Wait for its end; return what it printed."""
        self.wait(timeout)
        return self.stdout.read_text()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.pid and self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)


def serve(requests: int, events: int) -> tuple[str | None, list[str]]:
    """Fork for each line of requests until there are no more.

    Args:
        requests: Descriptor to read from.
        events: Descriptor to write to: that a command started, and how it ended.

    Returns:
        In a child, the program to run, None for ``main``, and what to call it with. The server
        itself ends here.
    """
    pending, running = b"", {}
    for number in (signal.SIGHUP, signal.SIGINT):  # which nohup and & make what they start ignore
        signal.signal(number, signal.SIG_DFL)

    def tell(**event):
        os.write(events, json.dumps(event).encode() + b"\n")

    while True:
        readable, _, _ = select.select([requests, *running], [], [])
        for descriptor in set(readable) & set(running):
            number, pid = running.pop(descriptor)
            os.close(descriptor)
            _, status = os.waitpid(pid, 0)
            tell(number=number, code=os.waitstatus_to_exitcode(status))
        if requests not in readable:
            continue
        received = os.read(requests, 1 << 20)
        if not received:
            os._exit(0)
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            pid = os.fork()
            if not pid:
                for descriptor in (requests, events, *running):
                    os.close(descriptor)
                return become(**request)
            running[os.pidfd_open(pid)] = (request["number"], pid)
            tell(number=request["number"], pid=pid)


def become(*, number, arguments, stdout, stderr, cwd, env, limits, program):
    """Turn a fresh child into the process that was requested."""
    import jax

    os.setsid()
    for descriptor, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    sys.path[0] = str(Path(program).parent) if program else cwd
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    for name, value in jax.config.values.items():
        given = env.get(name.upper())
        if given is not None:  # which JAX else reads when it is imported
            jax.config.update(name, _typed(given, value))
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))
    return program, arguments


def _typed(text, like):
    if isinstance(like, bool):
        return text.lower() in ("1", "true", "yes", "on")
    return type(like)(text) if isinstance(like, int | float) else text


if __name__ == "__main__":
    # Descriptors 0 to 2 will be the children's.
    requests_in, events_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    for module in ("cdcd_jax.main", "cdcd_jax.cli.commands", *LATER):
        __import__(module)
    gc.collect()
    gc.freeze()
    file, sys.argv[1:] = serve(requests_in, events_out)
    if file:
        runpy.run_path(file, run_name="__main__")
    else:
        del sys.modules["cdcd_jax.main"]  # or runpy would warn that it is there
        runpy.run_module("cdcd_jax.main", run_name="__main__", alter_sys=True)
