"""Addresses of hosts: names, numbers and ports, and where to listen."""

import contextlib
import errno
import ipaddress
import re
import socket
import sys
import time

NAME_TIMEOUT = 10.0
"""Seconds until a name of host 0 must mean something on host 0; on Kubernetes it may take some."""


def split_address(address: str) -> tuple[str, int]:
    """Parse ``HOST:PORT``.

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
    shown = address if len(address) < 100 else f"{address[:60]}..."
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
        name = shown.partition(":")[0]
        raise ValueError(
            f"coordinator = {shown} has no port; give it as HOST:PORT, e.g. {name}:12345"
        )
    if re.fullmatch(r"\[[0-9a-fA-F:.]+(%\w+)?\]", host):
        return host[1:-1], int(port)
    if not re.fullmatch(r"[\w.-]{1,253}", host):
        raise ValueError(
            f"coordinator = {shown} is not a name and port of a host; give it as HOST:PORT, e.g. "
            "localhost:12345, and a number of IPv6 in brackets, e.g. [::1]:12345"
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether an address means the same machine on every host.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("node7")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(address: str) -> socket.socket:
    """Listen where the others will call: at the coordinator's address, if it is this machine's.

    A name may mean something else here than elsewhere: Debian's own name is 127.0.1.1, a service's
    or a translated address belongs to no machine. Then all interfaces are listened at.

    Args:
        address: ``HOST:PORT`` of this machine, as the others know it.

    Returns:
        The open port.

    Raises:
        ValueError: If the port cannot be opened.
    """
    host, port = split_address(address)
    deadline = time.monotonic() + NAME_TIMEOUT  # a name of Kubernetes may take a moment
    while not (places := resolve(host, port)) and time.monotonic() < deadline:
        time.sleep(0.2)
    try:
        for family, place in places:
            if not is_loopback(place[0]) or is_loopback(host):
                with contextlib.suppress(_NotHereError):
                    return _bind(family, place)
        print(
            f"{host} of coordinator = {address} is not an address of this machine: listening at "
            "all of "
            "its interfaces",
            file=sys.stderr,
            flush=True,
        )
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(_NotHereError):
                return _bind(socket.AF_INET6, ("::", port), both=True)
        return _bind(socket.AF_INET, ("0.0.0.0", port))
    except OSError as error:
        raise ValueError(
            f"port {port} of coordinator = {address} cannot be opened ({error.strerror}); "
            "end what uses it, or give all hosts another port"
        ) from error


class _NotHereError(Exception):
    """An address that is not of this machine."""


def _bind(family: int, place: tuple, *, both: bool = False) -> socket.socket:
    try:
        return socket.create_server(
            place[:2], family=family, dualstack_ipv6=both, backlog=socket.SOMAXCONN
        )
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise _NotHereError from error
        raise


def resolve(host: str, port: int) -> list[tuple[int, tuple]]:
    """Return the families and addresses that a name has here; none if it has none, or not yet."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [(family, place) for family, _, _, _, place in found]
