"""Wait until every host of a run is there, or name those that are not.

JAX's runtime joins hosts, but ends the process with a C++ stack trace if one stays away, and does
not say which. So all hosts meet here first: for a moment, on the port that JAX takes over next.
"""

import contextlib
import re
import select
import socket
import time
from collections.abc import Iterable

GREETING = re.compile(rb"cdcd_jax host (\d{1,6}) of (\d{1,6}) waits (\d{1,6})\n")
GRACE = 5.0
"""Seconds that a host leaves the first one to tell the outcome."""


class MissingHostError(Exception):
    """Say in one sentence which hosts have not come."""


def call_roll(address: str, num_hosts: int, host_index: int, *, timeout: int = 300) -> None:
    """Return when all hosts have called.

    Args:
        address: ``HOST:PORT`` of host 0, the same on all of them.
        num_hosts: How many there are, >= 2.
        host_index: Which one this is, from 0.
        timeout: Seconds to wait. The host that waited first ends the waiting of all.

    Raises:
        MissingHostError: If hosts are missing after that time; it names them, on every host.
        ValueError: If hosts contradict each other, or the port is taken.
    """
    deadline = time.monotonic() + timeout
    if host_index == 0:
        _receive_all(address, num_hosts, timeout, deadline)
    else:
        _report(address, num_hosts, host_index, timeout, deadline)


def _receive_all(address: str, num_hosts: int, timeout: int, deadline: float) -> None:
    present: dict[int, socket.socket] = {}
    unknown: list[socket.socket] = []
    with _listen(address) as server:
        try:
            while len(present) < num_hosts - 1:
                left = deadline - time.monotonic()
                if left <= 0:
                    missing = sorted(set(range(1, num_hosts)) - present.keys())
                    sentence = _missing(missing, num_hosts, address, timeout)
                    _tell(present.values(), f"missing {sentence}")
                    raise MissingHostError(sentence)
                open_ones = [server, *unknown, *present.values()]
                for ready in select.select(open_ones, (), (), min(left, 1.0))[0]:
                    if ready is server:
                        unknown.append(server.accept()[0])
                    elif ready in unknown:
                        unknown.remove(ready)
                        patience = _welcome(ready, num_hosts, present)
                        deadline = min(deadline, time.monotonic() + patience)
                    else:  # It has closed its end: it ended, and may come again.
                        present = {i: s for i, s in present.items() if s is not ready}
                        ready.close()
            _tell(present.values(), "complete")
        finally:
            for connection in (*unknown, *present.values()):
                connection.close()


def _welcome(connection: socket.socket, num_hosts: int, present: dict[int, socket.socket]) -> float:
    """Take one host in; return for how many seconds it will wait."""
    connection.settimeout(1.0)  # A stranger may say half a line and then nothing.
    greeting = GREETING.fullmatch(_receive(connection))
    if greeting is None:  # Not one of ours.
        connection.close()
        return float("inf")
    index, claimed, patience = (int(number) for number in greeting.groups())
    wrong = None
    if claimed != num_hosts:
        wrong = f"host {index} was told of {claimed} hosts, host 0 of {num_hosts}"
    elif index in present:
        wrong = f"two processes say that they are host {index} of {num_hosts}"
    if wrong is not None:
        sentence = f"{wrong}; give each its own --host_index and all the same --num_hosts"
        _tell((connection, *present.values()), f"refused {sentence}")
        connection.close()
        raise ValueError(sentence)
    present[index] = connection
    return float(patience)


def _report(address: str, num_hosts: int, host_index: int, timeout: int, deadline: float) -> None:
    host, port = split_address(address)
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=min(left, 10.0)) as connection:
                greeting = f"cdcd_jax host {host_index} of {num_hosts} waits {int(left)}\n"
                connection.sendall(greeting.encode())
                connection.settimeout(left + GRACE)
                outcome, _, sentence = _receive(connection).decode().strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            outcome, sentence = "", ""
        if outcome == "complete":
            return
        if outcome == "missing":
            raise MissingHostError(sentence)
        if outcome == "refused":
            raise ValueError(sentence)
        time.sleep(min(0.2, max(deadline - time.monotonic(), 0.0)))
    raise MissingHostError(_missing([0], num_hosts, address, timeout))


def split_address(address: str) -> tuple[str, int]:
    """Take ``HOST:PORT`` apart.

    Args:
        address: A name or number of a host, and a port.

    Returns:
        Both.

    Raises:
        ValueError: If the port is missing or none.

    >>> split_address("localhost:1234")
    ('localhost', 1234)
    >>> split_address("localhost")
    Traceback (most recent call last):
    ValueError: coordinator = localhost has no port; give it as HOST:PORT, e.g. localhost:12345
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        name = address.partition(":")[0]
        raise ValueError(
            f"coordinator = {address} has no port; give it as HOST:PORT, e.g. {name}:12345"
        )
    return host.strip("[]"), int(port)


def _listen(address: str) -> socket.socket:
    port = split_address(address)[1]
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=1024)
    except OSError as error:
        raise ValueError(
            f"port {port} of coordinator = {address} cannot be opened ({error.strerror}); "
            "end what uses it, or give all hosts another port"
        ) from error


def _receive(connection: socket.socket) -> bytes:
    """Read a line; what comes is short, or is not ours."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < 4096:
            piece = connection.recv(4096)
            if not piece:
                break
            line += piece
    except OSError:
        return b""
    return line


def _tell(connections: Iterable[socket.socket], line: str) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):  # Whoever has gone meanwhile need not know.
            connection.sendall(f"{line}\n".encode())


def _missing(missing: list[int], num_hosts: int, address: str, timeout: int) -> str:
    names = ", ".join(str(index) for index in missing)
    who, has, it = ("hosts", "have", "them") if len(missing) > 1 else ("host", "has", "it")
    where = "answered at" if missing == [0] else "joined"
    return (
        f"{who} {names} of {num_hosts} {has} not {where} {address} within {timeout} s; start "
        f"{it}, or check the address, or wait longer with --host_timeout"
    )
