"""The handshake of two processes before JAX joins them, with signatures.

Host 0 opens with a nonce. The caller answers with its place, a nonce of its own and a signature of
both, and host 0 signs everything it answers. So the shared token is never sent, an old line is of
no use, and neither side believes a stranger.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from cdcd_jax.distributed.addresses import is_loopback

TOKEN = "CDCD_JAX_TOKEN"
"""Environment variable of the secret that all hosts of a run share."""

MAX_CALL = 256
"""Bytes of the longest line of a caller."""

MAX_ANSWER = 4096
"""Bytes of the longest line of host 0."""

DENIED = b"denied\n"

_OPENING = re.compile(rb"cdcd_jax 2 ([0-9a-f]{32})\n")
_CALL = re.compile(rb"host (\d{1,6}) of (\d{1,6}) waits (\d{1,9}) ([0-9a-f]{32}) ([0-9a-f]{64})\n")


class Call(NamedTuple):
    """A host's report to host 0.

    Attributes:
        host_index: Which host it is.
        num_hosts: How many it expects.
        patience: For how many seconds it will wait.
        nonce: Random digits of its own.
    """

    host_index: int
    num_hosts: int
    patience: int
    nonce: str


def read_token(environment: Mapping[str, str], host: str) -> bytes:
    """Return the shared secret of the run's hosts.

    Args:
        environment: Variables of this process.
        host: Name or number of host 0, as given to every host.

    Returns:
        The secret; empty for hosts that meet on the loopback interface without one.

    Raises:
        ValueError: If there is none for a network, or it is too short to be one.

    >>> read_token({}, "localhost"), read_token({"CDCD_JAX_TOKEN": 32 * "0"}, "node7")
    (b'', b'00000000000000000000000000000000')
    >>> read_token({"CDCD_JAX_TOKEN": "me"}, "node7")
    Traceback (most recent call last):
    ValueError: CDCD_JAX_TOKEN has 2 characters and must have at least 16; make one with openssl rand -hex 32, the same for all hosts
    """  # noqa: E501
    token = environment.get(TOKEN, "").strip()
    recipe = "make one with openssl rand -hex 32, the same for all hosts"
    if not token:
        if is_loopback(host):
            return b""
        raise ValueError(
            f"hosts that meet at {host} need a shared secret in the environment variable {TOKEN}, "
            f"which the scripts in launch/ provide; {recipe}"
        )
    if len(token) < 16:
        raise ValueError(f"{TOKEN} has {len(token)} characters and must have at least 16; {recipe}")
    return token.encode()


def make_nonce() -> str:
    """Return 32 random hexadecimal digits."""
    return secrets.token_hex(16)


def write_opening(nonce: str) -> bytes:
    """Return host 0's first line."""
    return f"cdcd_jax 2 {nonce}\n".encode()


def read_opening(line: bytes) -> str | None:
    """Return the nonce of host 0's first line, None where it is not one."""
    found = _OPENING.fullmatch(line)
    return found and found[1].decode()


def write_call(token: bytes, opening: str, call: Call) -> bytes:
    """Return the line in which a host reports to host 0.

    Args:
        token: From ``read_token``.
        opening: Nonce of host 0.
        call: Place and nonce of this host.

    Returns:
        The signed line.
    """
    index, count, patience, nonce = call
    signature = _sign(token, opening, *call)
    return f"host {index} of {count} waits {patience} {nonce} {signature}\n".encode()


def read_call(token: bytes, opening: str, line: bytes) -> Call | None:
    """Check the line of a caller.

    Args:
        token: From ``read_token``.
        opening: Nonce that this caller was sent.
        line: What it has answered.

    Returns:
        What it says; None where the line is not one of a host, or not signed with the token.

    >>> call = Call(1, 2, 300, make_nonce())
    >>> line = write_call(b"secret", "0" * 32, call)
    >>> read_call(b"secret", "0" * 32, line) == call
    True
    >>> read_call(b"secret", "1" * 32, line), read_call(b"another", "0" * 32, line)
    (None, None)
    """
    found = _CALL.fullmatch(line)
    if found is None:
        return None
    index, count, patience = (int(number) for number in found.groups()[:3])
    call = Call(index, count, patience, found[4].decode())
    signed = _sign(token, opening, *call)
    return call if hmac.compare_digest(signed, found[5].decode()) else None


def write_answer(token: bytes, opening: str, nonce: str, text: str) -> bytes:
    """Return a signed line of host 0 to one caller.

    Args:
        token: From ``read_token``.
        opening: Nonce that this caller was sent.
        nonce: Nonce that it has sent.
        text: One line.

    Returns:
        The line.
    """
    return f"{_sign(token, opening, nonce, text)} {text}\n".encode()


def read_answer(token: bytes, opening: str, nonce: str, line: bytes) -> str | None:
    """Return the text of a line of host 0, None where it is not signed with the token.

    >>> line = write_answer(b"secret", "0", "1", "complete")
    >>> read_answer(b"secret", "0", "1", line), read_answer(b"another", "0", "1", line)
    ('complete', None)
    """
    signature, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
    signed = _sign(token, opening, nonce, text)
    return text if hmac.compare_digest(signed.encode(), signature.encode()) else None


def _sign(token: bytes, *parts: object) -> str:
    message = "\n".join(str(part) for part in parts)
    return hmac.new(token, message.encode(), "sha256").hexdigest()
