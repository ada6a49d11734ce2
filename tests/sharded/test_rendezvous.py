"""Hosts wait for each other, each of them says who is missing, and strangers change nothing."""

import contextlib
import resource
import socket
import threading
import time

import pytest

from cdcd_jax.distributed import addresses, rendezvous
from cdcd_jax.distributed.addresses import listen
from cdcd_jax.distributed.handshake import (
    TOKEN,
    Call,
    make_nonce,
    read_opening,
    read_token,
    write_call,
)
from cdcd_jax.distributed.rendezvous import MissingHostError, meet_hosts
from tests.support.hosts import free_port

SECRET = b"a secret of this run"


def call_all(calls, port, tokens=None, host="localhost"):
    """Call the roll from threads, as (num_hosts, host_index, timeout, delay); return what came."""
    outcomes = {}

    def call(number, num_hosts, host_index, timeout, delay):
        time.sleep(delay)
        token = b"" if tokens is None else tokens[number]
        try:
            meet_hosts(f"{host}:{port}", num_hosts, host_index, timeout=timeout, token=token)
            outcomes[number] = "complete"
        except (MissingHostError, ValueError) as error:
            outcomes[number] = error

    threads = [threading.Thread(target=call, args=(i, *c)) for i, c in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return [outcomes[number] for number in range(len(calls))]


def test_all_of_three_come_in_any_order():
    calls = [(3, 2, 20, 0), (3, 0, 20, 0.2), (3, 1, 20, 0.4)]
    assert call_all(calls, free_port(), tokens=3 * [SECRET]) == ["complete"] * 3


def test_every_host_names_those_that_are_missing():
    port = free_port()
    for outcome in call_all([(4, 0, 20, 0), (4, 2, 1, 0)], port):
        assert isinstance(outcome, MissingHostError)
        assert str(outcome).startswith(f"hosts 1, 3 of 4 have not joined localhost:{port} within ")


def test_without_the_first_host_the_others_name_it():
    (outcome,) = call_all([(2, 1, 1, 0)], free_port())
    assert isinstance(outcome, MissingHostError)
    assert "host 0 of 2 has not answered at localhost:" in str(outcome)


def connect(port, over):
    """Connect as soon as somebody listens."""
    while not over.is_set():
        with contextlib.suppress(OSError):
            return socket.create_connection(("localhost", port))
        time.sleep(0.01)
    raise ConnectionError("nobody listens any more")


@contextlib.contextmanager
def strangers(attack, port):
    """Let a function attack the port from a thread until the block ends."""
    over = threading.Event()
    thread = threading.Thread(target=attack, args=(port, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def hang_up(port, over):
    while not over.is_set():
        with contextlib.suppress(OSError):
            connect(port, over).close()


def speak_http(port, over):
    while not over.is_set():
        with contextlib.suppress(OSError), connect(port, over) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def say_half_a_line(port, over):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            with contextlib.suppress(OSError):
                stack.enter_context(connect(port, over)).sendall(b"host 1 of")
        over.wait()


def never_end_a_line(port, over):
    while not over.is_set():
        with contextlib.suppress(OSError), connect(port, over) as connection:
            for _ in range(1000):
                connection.sendall(bytes(1 << 16))


def claim_to_be_a_host(port, over):
    """Speak the protocol, with a wrong number of hosts and without the secret."""
    while not over.is_set():
        with contextlib.suppress(OSError), connect(port, over) as connection:
            opening = read_opening(connection.recv(100)) or ""
            connection.sendall(write_call(b"", opening, Call(1, 7, 1, make_nonce())))
            connection.recv(100)


@pytest.mark.parametrize(
    "attack", [hang_up, speak_http, say_half_a_line, never_end_a_line, claim_to_be_a_host]
)
def test_strangers_on_the_port_change_nothing(attack):
    port, before = free_port(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with strangers(attack, port):
        started = time.monotonic()
        # Host 1 comes into the middle of it; host 2 before.
        calls = [(3, 0, 20, 0), (3, 1, 20, 0.4), (3, 2, 20, 0)]
        assert call_all(calls, port, tokens=3 * [SECRET]) == ["complete"] * 3
        assert time.monotonic() - started < 4
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000, f"{grown} kB more"


def test_a_stranger_in_place_of_host_0_does_not_end_the_others(monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.1)
    with socket.create_server(("localhost", 0)) as server:
        port, answers = server.getsockname()[1], [b"", b"complete\n", b"denied\n", b"x" * 10_000]

        def answer():
            for text in answers:
                connection, _ = server.accept()
                with contextlib.suppress(OSError):
                    connection.sendall(text)

        threading.Thread(target=answer, daemon=True).start()
        (outcome,) = call_all([(2, 1, 1, 0)], port, tokens=[SECRET])
    assert isinstance(outcome, MissingHostError)


def test_a_host_with_another_secret_is_not_let_in_and_both_sides_say_so(capsys):
    first, other = call_all([(2, 0, 1, 0), (2, 1, 1, 0)], free_port(), tokens=[SECRET, b"other"])
    assert str(first).startswith("host 1 of 2 has not joined localhost:")
    assert f"has called with another {TOKEN}); start it" in str(first)
    assert f"it was called with another {TOKEN} than its own" in str(other)
    assert capsys.readouterr().err.count("is not let in") == 1  # however often it calls


def test_the_secret_is_never_sent():
    heard = []
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]

        def listen():
            connection, _ = server.accept()
            connection.sendall(b"cdcd_jax 2 " + 32 * b"0" + b"\n")
            heard.append(connection.recv(4096))
            connection.close()

        threading.Thread(target=listen, daemon=True).start()
        call_all([(2, 1, 1, 0)], port, tokens=[SECRET])
    assert heard[0].startswith(b"host 1 of 2 waits ")
    assert SECRET not in heard[0]


def test_a_host_that_ends_while_waiting_may_come_again():
    port = free_port()

    def come_and_go(port, over):
        with connect(port, over) as connection:
            opening = read_opening(connection.recv(100)) or ""
            connection.sendall(write_call(SECRET, opening, Call(1, 3, 20, make_nonce())))
            assert connection.recv(100).endswith(b" welcome\n")

    with strangers(come_and_go, port):
        calls = [(3, 0, 20, 0), (3, 1, 20, 0.4), (3, 2, 20, 0.5)]
        assert call_all(calls, port, tokens=3 * [SECRET]) == ["complete"] * 3


@pytest.mark.parametrize(
    ("second", "third", "sentence"),
    [
        ((3, 1, 1, 0), (3, 1, 1, 0), "two processes say that they are host 1 of 3"),
        ((2, 1, 1, 0), (3, 2, 1, 0), "host 1 expects 2 hosts, host 0 3"),
    ],
)
def test_hosts_that_contradict_each_other_all_say_so(second, third, sentence):
    outcomes = call_all([(3, 0, 3, 0), second, third], free_port())
    assert sentence in str(outcomes[0])
    assert any(sentence in str(outcome) for outcome in outcomes[1:])


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port} of coordinator .* cannot be opened"):
            meet_hosts(f"127.0.0.1:{port}", 2, 0, timeout=2)


def listens_at(host, monkeypatch, names):
    """Return where host 0 listens if names mean these addresses on its machine."""
    found = {
        name: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
        for name, addresses in names.items()
    }
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: found[host])
    with listen(f"{host}:{free_port()}") as server:
        return server.getsockname()[0]


def test_the_port_is_open_at_the_coordinators_address_only(monkeypatch, capsys):
    assert listens_at("localhost", monkeypatch, {"localhost": ["127.0.0.1"]}) == "127.0.0.1"
    # A machine's own address, taken for its network's.
    monkeypatch.setattr(addresses, "is_loopback", lambda host: host == "127.0.1.1")
    names = {"node7": ["127.0.1.1", "203.0.113.9", "127.0.0.1"]}
    assert listens_at("node7", monkeypatch, names) == "127.0.0.1"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("address", ["127.0.1.1", "203.0.113.9"])
def test_a_name_that_is_of_no_interface_opens_all_and_says_so(monkeypatch, capsys, address):
    """Debian's name of the machine itself, and a service's or a translated address."""
    assert listens_at("node7", monkeypatch, {"node7": [address]}) in ("::", "0.0.0.0")
    assert "node7 of coordinator = node7:" in (said := capsys.readouterr().err)
    assert "is not an address of this machine: listening at all of its interfaces" in said


def test_a_network_needs_a_secret_and_one_machine_does_not():
    assert read_token({}, "127.0.0.1") == b""
    for host in ("node7", "10.0.0.7", "fd00::7"):
        with pytest.raises(ValueError, match=rf"meet at {host} need a shared secret .*{TOKEN}"):
            read_token({}, host)
        with pytest.raises(ValueError, match="must have at least 16"):
            read_token({TOKEN: "short"}, host)
        assert read_token({TOKEN: f" {SECRET.decode()}\n"}, host) == SECRET
