"""The watchdog that ends a run in which a host is alive but makes no progress.

The main thread of each host counts its progress where all hosts pass in the same order: batches,
steps, agreements. A thread of its own publishes that count in the store of JAX's coordination
service. Hosts that wait for each other compare the counts; the lowest one is who is waited for.
Nothing of this is part of a step, and no host waits for another because of it.
"""

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from jax._src import distributed  # The store that all hosts share has no public name.

from cdcd_jax.distributed.host_progress import PROGRESS, Progress, Report

STUCK_TIMEOUT = 1800
"""Seconds without progress after which a host that the others wait for counts as stuck."""

LONGEST_GAPS = 3
"""The timeout is at least this many times the longest that progress has taken so far."""

FOLDER = "cdcd_jax/progress"


def find_stuck(reports: Mapping[int, Report], host: int, timeout: float) -> list[int]:
    """Find whom a host has been waiting for in vain.

    Args:
        reports: The newest of each host.
        host: Who waits.
        timeout: Seconds without progress that are too many.

    Returns:
        Hosts with the least progress, if they are behind and idle for ``timeout``; all hosts, if
        none is behind and all are idle for twice that; otherwise none.

    >>> waiting = Report(7, 20.0, 20.0, "in step 3", "")
    >>> find_stuck({0: waiting, 1: Report(6, 20.0, 20.0, "reading", "")}, 0, 10.0)
    [1]
    >>> find_stuck({0: waiting, 1: Report(6, 20.0, 0.1, "computing", "")}, 0, 10.0)
    []
    >>> find_stuck({0: waiting, 1: waiting}, 0, 10.0)
    [0, 1]
    """
    least = min(report.count for report in reports.values())
    last = [i for i, report in sorted(reports.items()) if report.count == least]
    patience = timeout if len(last) < len(reports) else 2 * timeout
    if reports[host].waited < patience or any(reports[i].idle < patience for i in last):
        return []
    return last


def describe_stuck(reports: Mapping[int, Report], stuck: list[int]) -> str:
    """Describe who is stuck, where, and what to do."""
    who = ", ".join(str(index) for index in stuck[:8]) + (", ..." if len(stuck) > 8 else "")
    report = reports[stuck[0]]
    at = f"{report.doing} ({report.place})" if report.place else report.doing
    if len(stuck) == len(reports):
        what = f"no host has made progress for {report.waited:.0f} s, each {at}"
    else:
        hosts, have = ("hosts", "have") if len(stuck) > 1 else ("host", "has")
        what = (
            f"{hosts} {who} of {len(reports)} {have} made no progress for {report.waited:.0f} s "
            f"while the others wait, {at}"
        )
    return (
        f"{what}; end what is left of the run, and run the same command on all hosts again to go "
        "on from the newest checkpoint, or allow more with --host_stuck_timeout"
    )


class Watchdog:
    """Threads that publish this host's progress and compare it with that of the others.

    Args:
        store: JAX's distributed client, whose keys all hosts read and write.
        host_index: Which host this is.
        num_hosts: How many there are.
        timeout: Seconds without progress that a host may keep the others waiting, > 0.
        heartbeat_timeout: Seconds of silence after which JAX ends the run.
        progress: Of this host.
        end: What ends this process, called with the sentence.
    """

    def __init__(
        self,
        store: Any,
        host_index: int,
        num_hosts: int,
        *,
        timeout: float,
        heartbeat_timeout: float,
        progress: Progress = PROGRESS,
        end: Callable[[str], None] | None = None,
    ):
        self._store, self._host, self._num_hosts = store, host_index, num_hosts
        self._timeout, self._heartbeat_timeout = timeout, heartbeat_timeout
        self._progress, self._end = progress, end or self._end_process
        self.pause = min(timeout / 10, heartbeat_timeout / 6)
        self._reports: dict[int, Report] = {}
        self._number, self._answered = 0, progress.clock()
        self._looked = self._answered
        self._heard: dict[int, tuple[int, float]] = {}
        self._silent: set[int] = set()
        self._over = threading.Event()

    def start(self) -> None:
        """Start the threads; they end with the process, or with ``stop``."""
        for work in (self.exchange, self.warn_unanswered):
            threading.Thread(
                target=self._repeat, args=(work,), name="cdcd_jax watchdog", daemon=True
            ).start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Stop the threads and wait for them."""
        self._over.set()

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._over.is_set():
            work()
            self._over.wait(self.pause)

    def exchange(self) -> None:
        """Publish; read what the others have published while this host waits."""
        self._number += 1
        own = self._progress.report(self._number)
        try:
            value = json.dumps(asdict(own))
            self._store.key_value_set(f"{FOLDER}/{self._host}", value, allow_overwrite=True)
            if own.waited > min(self._timeout / 3, self._heartbeat_timeout / 6):
                self._read(self._store.key_value_dir_get(FOLDER))
                self._warn_of_silence()
            else:
                self._heard.clear()
            self._answered = self._progress.clock()
        except RuntimeError:
            pass  # Host 0 has gone, and JAX is about to say so.

    def _read(self, values: list[tuple[str, str]]) -> None:
        found = {key.rpartition("/")[2]: value for key, value in values}
        verdict = found.pop("verdict", None)
        self._reports = {int(index): Report(**json.loads(text)) for index, text in found.items()}
        timeout = max(self._timeout, LONGEST_GAPS * self._progress.longest)
        if verdict is None and len(self._reports) == self._num_hosts:
            stuck = find_stuck(self._reports, self._host, timeout)
            if stuck:
                verdict = describe_stuck(self._reports, stuck)
                self._store.key_value_set(f"{FOLDER}/verdict", verdict, allow_overwrite=True)
        if verdict is not None:
            self._over.set()
            self._end(verdict)

    def _warn_of_silence(self) -> None:
        """Warn of silent hosts before JAX ends the run with a stack trace."""
        now = self._progress.clock()
        for index, report in self._reports.items():
            number, since = self._heard.get(index, (-1, now))
            if report.number != number:
                since = now
                self._silent.discard(index)
            self._heard[index] = (report.number, since)
            if now - since > self._heartbeat_timeout / 3:
                self._say_silent(index, now - since)

    def warn_unanswered(self) -> None:
        """Warn if host 0, which holds the store, does not answer."""
        now = self._progress.clock()
        if now - self._looked > 3 * self.pause:  # It was this process that was held up.
            self._answered = now
        self._looked = now
        if now - self._answered > self._heartbeat_timeout / 3:
            self._say_silent(0, now - self._answered)

    def _say_silent(self, index: int, seconds: float) -> None:
        if index not in self._silent:
            self._silent.add(index)
            print(
                f"Warning on host {self._host}: host {index} has not been heard of for "
                f"{seconds:.0f} s; the run ends when that lasts for {self._heartbeat_timeout:g} s",
                file=sys.stderr,
                flush=True,
            )

    def _end_process(self, sentence: str) -> None:
        bar = "" if self._host else "\n"  # The progress bar has not ended its line.
        print(f"{bar}Error on host {self._host}: {sentence}", file=sys.stderr, flush=True)
        # What JAX and Gloo say of those that end first would only hide it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        # Until each has read the verdict: the end of one ends the others, of host 0 at once.
        time.sleep(self.pause * (2 if self._host else 3) + (not self._host))
        os._exit(1)


def watch_hosts(*, timeout: float, heartbeat_timeout: float) -> None:
    """Watch the progress of all hosts from now on, in the background.

    Args:
        timeout: Seconds without progress that a host may keep the others waiting; 0 forever.
        heartbeat_timeout: Seconds of silence after which JAX ends the run.
    """
    state = distributed.global_state
    assert state.client is not None
    if timeout:
        PROGRESS.restart()  # the hosts have just met
        Watchdog(
            state.client,
            state.process_id,
            state.num_processes or 1,
            timeout=timeout,
            heartbeat_timeout=heartbeat_timeout,
        ).start()
