"""Hosts wait for each other, and each of them says who is missing."""

import contextlib
import socket
import threading
import time

import pytest
from hosts import free_port

from cdcd_jax.training.rollcall import MissingHostError, call_roll


def call_all(calls, port):
    """Call the roll from threads, as (num_hosts, host_index, timeout, delay); return what came."""
    outcomes = {}

    def call(number, num_hosts, host_index, timeout, delay):
        time.sleep(delay)
        try:
            call_roll(f"localhost:{port}", num_hosts, host_index, timeout=timeout)
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
    assert (
        call_all([(3, 2, 20, 0), (3, 0, 20, 0.3), (3, 1, 20, 0.6)], free_port()) == ["complete"] * 3
    )


def test_every_host_names_those_that_are_missing():
    port = free_port()
    for outcome in call_all([(4, 0, 20, 0), (4, 2, 1, 0)], port):
        assert isinstance(outcome, MissingHostError)
        assert str(outcome).startswith(f"hosts 1, 3 of 4 have not joined localhost:{port} within ")


def test_without_the_first_host_the_others_name_it():
    (outcome,) = call_all([(2, 1, 1, 0)], free_port())
    assert isinstance(outcome, MissingHostError)
    assert "host 0 of 2 has not answered at localhost:" in str(outcome)


@contextlib.contextmanager
def caller(port, words, seconds=0.0):
    """Call as soon as somebody listens, say something, and hang up after a while."""

    def call():
        for _ in range(100):
            try:
                with socket.create_connection(("localhost", port)) as connection:
                    connection.sendall(words)
                    time.sleep(seconds)
                    return
            except OSError:
                time.sleep(0.02)

    thread = threading.Thread(target=call)
    thread.start()
    yield
    thread.join()


def test_a_host_that_ends_while_waiting_may_come_again():
    port = free_port()
    with caller(port, b"cdcd_jax host 1 of 3 waits 20\n"):
        outcomes = call_all([(3, 0, 20, 0), (3, 1, 20, 0.5), (3, 2, 20, 0.7)], port)
    assert outcomes == ["complete"] * 3


@pytest.mark.parametrize(("words", "seconds"), [(b"GET / HTTP/1.1\r\n\r\n", 0), (b"\x16\x03", 6)])
def test_strangers_on_the_port_do_no_harm(words, seconds):
    port = free_port()
    with caller(port, words, seconds):
        outcomes = call_all([(2, 0, 4, 0), (2, 1, 4, 0.5)], port)
    assert outcomes == ["complete"] * 2


@pytest.mark.parametrize(
    ("second", "third", "sentence"),
    [
        ((3, 1, 2, 0), (3, 1, 2, 0), "two processes say that they are host 1 of 3"),
        ((2, 1, 2, 0), (3, 2, 2, 0), "host 1 was told of 2 hosts, host 0 of 3"),
    ],
)
def test_hosts_that_contradict_each_other_are_told(second, third, sentence):
    outcomes = call_all([(3, 0, 3, 0), second, third], free_port())
    assert sentence in str(outcomes[0])
    assert any(sentence in str(outcome) for outcome in outcomes[1:])


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port} of coordinator .* cannot be opened"):
            call_roll(f"localhost:{port}", 2, 0, timeout=2)
