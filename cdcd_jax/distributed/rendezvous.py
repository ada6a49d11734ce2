"""The rendezvous of all hosts of a run before JAX starts, which names missing ones.

JAX's runtime joins hosts, but ends the process with a C++ stack trace if one stays away, and does
not say which. So all hosts meet here first: for a moment, on the port that JAX takes over next.
Whoever else connects to it is dropped after ``PATIENCE`` seconds or ``MAX_CALL`` bytes.
"""

import contextlib
import errno
import math
import selectors
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from cdcd_jax.distributed.addresses import listen, resolve, split_address
from cdcd_jax.distributed.handshake import (
    DENIED,
    MAX_ANSWER,
    MAX_CALL,
    TOKEN,
    Call,
    make_nonce,
    read_answer,
    read_call,
    read_opening,
    write_answer,
    write_call,
    write_opening,
)

PATIENCE = 10.0
"""Seconds that either side has for a line that should come at once."""

GRACE = 5.0
"""Seconds that a host leaves the first one to announce the outcome."""

MAX_UNKNOWN = 128
"""Connections that have not said yet who they are; of more, the oldest is dropped."""


class MissingHostError(Exception):
    """An error that names the hosts that have not connected."""


def meet_hosts(
    address: str, num_hosts: int, host_index: int, *, timeout: int = 300, token: bytes = b""
) -> str | None:
    """Return when all hosts have called.

    Args:
        address: ``HOST:PORT`` of host 0, the same on all of them.
        num_hosts: How many there are, >= 2.
        host_index: Which one this is, from 0.
        timeout: Seconds to wait. The host that waited first ends the waiting of all.
        token: Secret that all of them share, see ``read_token``.

    Returns:
        On host 0, the numeric ``HOST:PORT`` that it has listened at; None on the others.

    Raises:
        MissingHostError: If hosts are missing after that time; it names them, on every host.
        ValueError: If hosts contradict each other, or the port is taken.
    """
    if host_index == 0:
        with listen(address) as server:
            _Roll(server, address, num_hosts, timeout, token).take()
            host, port = server.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _report(address, num_hosts, host_index, timeout, token)
    return None


@dataclass(eq=False)
class _Caller:
    """A connection to host 0."""

    connection: socket.socket
    source: str
    opening: str = field(default_factory=make_nonce)
    since: float = field(default_factory=time.monotonic)
    received: bytes = b""
    call: Call | None = None


class _Roll:
    """Host 0's list of connected hosts. It never waits for a single connection."""

    def __init__(
        self, server: socket.socket, address: str, num_hosts: int, timeout: int, token: bytes
    ):
        self._server, self._address, self._timeout, self._token = server, address, timeout, token
        self._deadline = time.monotonic() + timeout
        self._num_hosts = num_hosts
        self._unknown: dict[_Caller, None] = {}  # the oldest first
        self._present: dict[int, _Caller] = {}
        self._denied: str | None = None
        self._selector = selectors.DefaultSelector()
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)

    def take(self) -> None:
        try:
            while len(self._present) < self._num_hosts - 1:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    self._give_up()
                for key, _ in self._selector.select(min(left, 1.0)):
                    if key.data is None:
                        self._accept()
                    else:
                        self._read(key.data)
                for caller in list(self._unknown):
                    if time.monotonic() - caller.since <= PATIENCE:
                        break
                    self._drop(caller)
            self._announce(self._present.values(), "complete")
        finally:
            for caller in (*self._unknown, *self._present.values()):
                caller.connection.close()
            self._selector.close()

    def _accept(self) -> None:
        for _ in range(MAX_UNKNOWN // 2):  # so that a crowd is soon through
            try:
                connection, source = self._server.accept()
            except OSError as error:  # There is none, or it has gone again already.
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    for oldest in list(self._unknown)[:1]:
                        self._drop(oldest)
                    time.sleep(0.01)  # until somebody's files are closed
                return
            connection.setblocking(False)
            caller = _Caller(connection, source[0])
            self._unknown[caller] = None
            self._selector.register(connection, selectors.EVENT_READ, caller)
            self._send(caller, write_opening(caller.opening))
            if len(self._unknown) > MAX_UNKNOWN:
                self._drop(next(iter(self._unknown)))

    def _read(self, caller: _Caller) -> None:
        if caller.connection.fileno() < 0:
            return  # dropped since it was selected
        try:
            piece = caller.connection.recv(MAX_CALL)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:  # It has closed its end: it ended, and may come again.
            self._drop(caller)
        elif caller.call is None and caller in self._unknown:
            caller.received += piece
            if caller.received.endswith(b"\n"):
                self._welcome(caller)
            elif len(caller.received) > MAX_CALL:
                self._drop(caller)

    def _welcome(self, caller: _Caller) -> None:
        call = read_call(self._token, caller.opening, caller.received)
        if call is None:
            if caller.received.startswith(b"host "):
                self._deny(caller)
            self._drop(caller)
            return
        caller.call = call
        wrong = None
        if call.num_hosts != self._num_hosts:
            wrong = (
                f"host {call.host_index} expects {call.num_hosts} hosts, host 0 {self._num_hosts}"
            )
        elif call.host_index in self._present:
            wrong = f"two processes say that they are host {call.host_index} of {self._num_hosts}"
        elif not 0 < call.host_index < self._num_hosts:
            wrong = f"host {call.host_index} is not among {self._num_hosts} hosts"
        if wrong is not None:
            sentence = f"{wrong}; give each its own --host_index and all the same --num_hosts"
            self._announce((caller, *self._present.values()), f"refused {sentence}")
            raise ValueError(sentence)
        del self._unknown[caller]
        self._present[call.host_index] = caller
        self._announce([caller], "welcome")
        self._deadline = min(self._deadline, time.monotonic() + call.patience)

    def _deny(self, caller: _Caller) -> None:
        self._send(caller, DENIED)
        if self._denied is None:
            self._denied = caller.source
            print(
                f"A process at {caller.source} calls with another {TOKEN} than this host's and is "
                "not let in",
                file=sys.stderr,
                flush=True,
            )

    def _drop(self, caller: _Caller) -> None:
        self._unknown.pop(caller, None)
        self._present = {i: other for i, other in self._present.items() if other is not caller}
        self._selector.unregister(caller.connection)
        caller.connection.close()

    def _announce(self, callers: Iterable[_Caller], text: str) -> None:
        for caller in callers:
            assert caller.call is not None
            nonce = caller.call.nonce
            self._send(caller, write_answer(self._token, caller.opening, nonce, text))

    def _send(self, caller: _Caller, line: bytes) -> None:
        with contextlib.suppress(OSError):  # Whoever has gone meanwhile need not know.
            caller.connection.send(line)  # far less than a connection's buffer

    def _give_up(self) -> None:
        missing = sorted(set(range(1, self._num_hosts)) - self._present.keys())
        where = self._denied and f"a process at {self._denied} has called with another {TOKEN}"
        sentence = _missing(missing, self._num_hosts, self._address, self._timeout, where)
        self._announce(self._present.values(), f"missing {sentence}")
        raise MissingHostError(sentence)


def _report(address: str, num_hosts: int, host_index: int, timeout: int, token: bytes) -> None:
    host, port = split_address(address)
    deadline, denied = time.monotonic() + timeout, False
    while (left := deadline - time.monotonic()) > 0:
        outcome = ""
        for family, place in resolve(host, port):
            with contextlib.suppress(OSError), socket.socket(family) as connection:
                connection.settimeout(min(left, PATIENCE))
                connection.connect(place)
                call = Call(host_index, num_hosts, math.ceil(left), make_nonce())
                outcome = _talk(connection, call, token, left)
            if outcome:
                break
        denied |= outcome == "denied"
        word, _, sentence = outcome.partition(" ")
        if word == "complete":
            return
        if word == "missing":
            raise MissingHostError(sentence)
        if word == "refused":
            raise ValueError(sentence)
        time.sleep(min(0.2, max(deadline - time.monotonic(), 0.0)))
    where = f"it was called with another {TOKEN} than its own" if denied else None
    raise MissingHostError(_missing([0], num_hosts, address, timeout, where))


def _talk(connection: socket.socket, call: Call, token: bytes, left: float) -> str:
    """Report to host 0 and wait for what it announces; empty where it is not host 0, or ends."""
    opening = read_opening(_receive(connection, min(PATIENCE, left)))
    if opening is None:
        return ""
    connection.sendall(write_call(token, opening, call))
    line = _receive(connection, min(PATIENCE, left + GRACE))
    if line == DENIED:
        return "denied"
    text = read_answer(token, opening, call.nonce, line)
    if text == "welcome":
        text = read_answer(token, opening, call.nonce, _receive(connection, left + GRACE))
    return text or ""


def _receive(connection: socket.socket, seconds: float) -> bytes:
    """Read a line; what comes too slowly or is too long is not ours."""
    line, deadline = b"", time.monotonic() + seconds
    while not line.endswith(b"\n") and len(line) < MAX_ANSWER:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        # One byte at a time, as the next line may already be behind this one.
        piece = connection.recv(1)
        if not piece:
            break
        line += piece
    return line


def _missing(
    missing: list[int], num_hosts: int, address: str, timeout: int, where: str | None = None
) -> str:
    names = ", ".join(str(index) for index in missing[:8])
    names += f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    who, has, it = ("hosts", "have", "them") if len(missing) > 1 else ("host", "has", "it")
    verb = "answered at" if missing == [0] else "joined"
    cause = f" ({where})" if where else ""
    return (
        f"{who} {names} of {num_hosts} {has} not {verb} {address} within {timeout} s{cause}; start "
        f"{it}, or check the address, or wait longer with --host_timeout"
    )
