"""SIGKILL at random moments, readers beside: ``python -m tests.adversarial.kills --rounds 300``.

A chain is one run that is killed some times and then trained to its end, while another process
reads its checkpoints. Every bit that is read or left at the end must be that of a run that nobody
disturbed.
"""

import argparse
import collections
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.support.checkpoint_steps import SAVING, load_arrays, newest_begun, newest_step
from tests.support.fork_server import shared_server
from tests.support.hosts import TOY, Hosts, environment

ROOT = Path(__file__).parents[2]
SMOKE = "configs/digits_sample_inter.py:smoke"
TINY = (
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.train.sample_every=0",
    "--config.schedule.num_steps=4",
    "--config.eval.num_steps=(2,)",
)
MOMENTS = ("start", "step", "save")
STRIDE = 8
"""Checkpoints that a run gets on by at most before it is killed."""
PATIENCE = 600
"""Seconds for anything, on a machine that does much else."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is trained and killed.

    Attributes:
        name: What it is called in the counts.
        what: Of ``toy_host.py``; "" for the command line itself.
        num_hosts: 1 or 2.
        share: Of ten chains, how many are of this kind.
    """

    name: str
    what: str
    num_hosts: int
    share: int

    def command(self, workdir: Path, num_steps: int, every: int) -> list[str | Path | None]:
        """Return the program, None for the command line, and what it is called with."""
        if self.what:
            flags = (f"--what={self.what}", f"--num_steps={num_steps}", "--pause=0.01")
            return [TOY, workdir, *flags, f"--checkpoint_every={every}"]
        return [
            None, f"--config={SMOKE}", f"--workdir={workdir}", *TINY,
            f"--config.train.num_steps={num_steps}", f"--config.train.checkpoint_every={every}",
        ]  # fmt: skip


KINDS = (
    Kind("diffusion, one host", "diffusion", 1, 3),
    Kind("codec, one host", "codec", 1, 3),
    Kind("diffusion, two hosts", "diffusion", 2, 2),
    Kind("codec, two hosts", "codec", 2, 1),
    Kind("command line", "", 1, 1),
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A run that nobody disturbed.

    Attributes:
        arrays: Of its last checkpoint.
        digests: File with the digest of each checkpoint.
        num_steps: How long it is.
    """

    arrays: Mapping[str, np.ndarray]
    digests: Path
    num_steps: int


class Tally:
    """Counts of what was done and found; failures in words."""

    def __init__(self):
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    def add(self, other: "Tally") -> None:
        self.counts += other.counts
        self.failures += other.failures

    def __str__(self) -> str:
        done = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return "\n".join([done or "nothing", *(f"FAILURE: {line}" for line in self.failures)])


def make_reference(
    kind: Kind, folder: Path, compiled: Path, rounds: int, *, every: int = 3
) -> Reference:
    """Train a run without disturbing it, long enough for so many kills."""
    num_steps = every * (2 * STRIDE * rounds + 10)
    workdir = folder / "undisturbed"
    command = kind.command(workdir, num_steps, every if kind.what else num_steps)
    command += ["--digests"] if kind.what else []
    with Hosts(command, folder / "logs", num_hosts=kind.num_hosts, compiled=compiled) as hosts:
        codes = hosts.wait(PATIENCE)
        assert set(codes.values()) == {0}, hosts.outputs()
    arrays = load_arrays(workdir / "checkpoints" / str(num_steps))
    return Reference(arrays, workdir / "digests.jsonl", num_steps)


def run_chain(
    kind: Kind,
    folder: Path,
    reference: Reference,
    compiled: Path,
    rounds: int,
    generator: random.Random,
    *,
    every: int = 3,
) -> Tally:
    """Kill a run so many times with readers beside it, finish it, and compare it.

    Args:
        kind: What is trained.
        folder: An empty one.
        reference: Of the same kind and number of rounds.
        compiled: Cache of compiled functions.
        rounds: How often it is killed.
        generator: Chooses the moments.
        every: Steps between two checkpoints.

    Returns:
        What came of it.
    """
    workdir, tally = folder / "run", Tally()
    command = kind.command(workdir, reference.num_steps, every)
    with Reader(kind, workdir, folder / "reader", reference, compiled) as reader:
        took = 2.0  # seconds until it trains
        for number in range(rounds):
            # Hosts that wait for one that was killed while they met are told to be impatient.
            moment = MOMENTS[number % len(MOMENTS)]
            patience = (f"--host_timeout={10 if moment == 'start' else 120}",)
            patience += ("--heartbeat_timeout=20",) if kind.what else ()
            logs = folder / f"round{number}"
            with Hosts(
                [*command, *patience], logs, num_hosts=kind.num_hosts, compiled=compiled
            ) as hosts:
                reader.start_another()
                try:
                    took = _kill(hosts, workdir, moment, took, generator, tally)
                except (AssertionError, TimeoutError) as error:
                    tally.failures.append(f"{kind.name}, round {number}: {error}")
        tally.counts[f"kills: {kind.name}"] += rounds
        last = kind.command(workdir, reference.num_steps, reference.num_steps)
        with Hosts(last, folder / "last", num_hosts=kind.num_hosts, compiled=compiled) as hosts:
            codes = hosts.wait(PATIENCE)
            output = hosts.outputs()
    tally.add(reader.tally)
    if set(codes.values()) != {0} or "damaged" in output:
        tally.failures.append(f"{kind.name}: the last part ended with {codes}\n{output[-2000:]}")
        return tally
    tally.failures += [f"{kind.name}: {line}" for line in _examine(workdir, reference)]
    tally.counts["chains"] += 1
    return tally


def _kill(hosts, workdir, moment, took, generator, tally):
    """Wait for a moment, kill one host or all, and wait for the others' end."""
    checkpoints, started = workdir / "checkpoints", time.monotonic()
    # What the last round was writing when it was killed is still there.
    before = newest_begun(checkpoints)
    if moment == "start":
        time.sleep(generator.uniform(0.0, took))
    else:
        suffix = SAVING if moment == "save" else ""
        goal = before + generator.randint(1, 3 * STRIDE)
        hosts.wait_for(lambda: newest_step(checkpoints, suffix) > before, PATIENCE)
        took = time.monotonic() - started
        hosts.wait_for(lambda: newest_step(checkpoints, suffix) >= goal, PATIENCE)
        time.sleep(generator.uniform(0.0, 0.03))
    victims = list(hosts.processes)
    if len(victims) > 1 and generator.random() < 0.4:
        victims = [generator.choice(victims)]
    for victim in victims:
        hosts.send(victim)
    tally.counts[f"kills: {moment}"] += 1
    if newest_step(checkpoints, SAVING) > max(before, newest_step(checkpoints)):
        tally.counts["kills: in the middle of a save"] += 1
    codes = hosts.wait(PATIENCE)
    if any(codes[victim] != -signal.SIGKILL for victim in victims):
        raise AssertionError(f"killed too late: {codes}\n{hosts.outputs()[-2000:]}")
    if any(code in (0, -signal.SIGKILL) for i, code in codes.items() if i not in victims):
        raise AssertionError(f"a host did not notice: {codes}\n{hosts.outputs()[-2000:]}")
    return took


def _examine(workdir, reference):
    """Yield what is wrong with a run that has come to its end."""
    found = load_arrays(workdir / "checkpoints" / str(reference.num_steps))
    if found.keys() != reference.arrays.keys():
        yield f"other arrays: {sorted(found.keys() ^ reference.arrays.keys())}"
    for name in found.keys() & reference.arrays.keys():
        if found[name].tobytes() != reference.arrays[name].tobytes():
            yield f"other bits in {name}"
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]
    if steps != sorted(set(steps)) or steps[-1] != reference.num_steps:
        yield f"metrics.jsonl holds the steps {steps}"
    left = {path.name for path in workdir.iterdir() if "lock" in path.name}
    left |= {path.name for path in (workdir / "checkpoints").iterdir() if not path.name.isdigit()}
    if left := {name for name in left if not name.startswith(".lock.json.")}:
        yield f"left behind: {sorted(left)}"


class Reader:
    """A process that reads while a run is trained and killed; of the command line, one by one."""

    MODES = ("sample", "evaluate")

    def __init__(self, kind, workdir, folder, reference, compiled):
        self.tally, self._kind, self._folder, self._number = Tally(), kind, folder, 0
        self._compiled = compiled
        flags = (f"--what={kind.what}", f"--read={reference.digests}")
        self._command = [TOY, workdir, *flags]
        if not kind.what:
            self._command = kind.command(workdir, reference.num_steps, reference.num_steps)
        self._running = None

    def __enter__(self):
        return self

    def start_another(self):
        """Start reading, unless one that was started still does."""
        if self._running is not None and self._running.poll() is None:
            return
        self._account()
        program, *arguments = self._command
        if program is None:
            arguments.append(f"--mode={self.MODES[self._number % 2]}")
        self._folder.mkdir(exist_ok=True, parents=True)
        self._number += 1
        self._running = shared_server().popen(
            arguments,
            program=program,
            stdout=self._folder / f"{self._number}.txt",
            env=environment(compiled=self._compiled),
            timeout=PATIENCE,
        )

    def _account(self):
        """Count what came of a reader that has ended, or of all its readings."""
        if self._running is None:
            return
        output, code = self._running.stdout.read_text(errors="replace"), self._running.returncode
        name = self._kind.name
        if self._kind.what:
            lines = output.splitlines()
            self.tally.counts["readings, the same bits"] += lines.count("SAME")
            self.tally.counts["readings, too early"] += lines.count("EARLY")
            wrong = [line for line in lines if line not in ("SAME", "EARLY")]
            if wrong != ["Ended by SIGTERM; there was nothing to save"][: len(wrong)]:
                self.tally.failures.append(f"{name}: a reader ended with {code}: {wrong[:5]}")
        elif code == 0:
            self.tally.counts["commands that sampled or evaluated"] += 1
        elif code == 1 and "there is no checkpoint in" in output:
            self.tally.counts["readings, too early"] += 1
        elif code not in (-signal.SIGTERM, 143):
            self.tally.failures.append(f"{name}: a reader: {code}\n{output[-1000:]}")

    def __exit__(self, *_):
        if self._running is None:
            return
        if self._kind.what:
            self._running.send_signal(signal.SIGTERM)
        self._running.wait(PATIENCE)
        self._account()


def kill_few(name: str, folder: Path, rounds: int = 3) -> Tally:
    """Kill one run of a kind, as the tests do; its reference is made for it."""
    (kind,) = [kind for kind in KINDS if kind.name == name]
    compiled, reference = folder / "compiled", folder / "reference"
    made = make_reference(kind, reference, compiled, rounds)
    return run_chain(kind, folder / "chain", made, compiled, rounds, random.Random(0))


def choose_kinds(rounds: int, per_chain: int, only: str, seed: int) -> list[tuple[Kind, int]]:
    """Share rounds out to chains of the kinds whose names have a part in common."""
    kinds = [kind for kind in KINDS if only in kind.name for _ in range(kind.share)]
    generator = random.Random(seed)
    chosen = []
    while rounds > 0:
        if not len(chosen) % len(kinds):
            generator.shuffle(kinds)
        chosen.append((kinds[len(chosen) % len(kinds)], min(rounds, per_chain)))
        rounds -= per_chain
    return chosen


def _end_all(number, _):
    """End what was started, too."""
    shared_server().close()
    os._exit(128 + number)


def main() -> int:
    """Run chains until there were so many kills; print the counts, return 1 after a failure."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.adversarial.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--per_chain", type=int, default=5, help="kills of one run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the name of a kind")
    parser.add_argument("--compiled", type=Path, help="folder of compiled functions to keep")
    options = parser.parse_args()
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    signal.signal(signal.SIGTERM, _end_all)
    began, total, lock = time.monotonic(), Tally(), threading.Lock()
    chains = choose_kinds(options.rounds, options.per_chain, options.only, options.seed)
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as place:
        compiled = options.compiled or Path(place) / "compiled"
        references = {}

        def prepare(kind):
            folder = Path(place) / kind.name.replace(" ", "_")
            references[kind] = make_reference(kind, folder, compiled, options.per_chain)
            print(f"{kind.name}: undisturbed after {time.monotonic() - began:.0f} s", flush=True)

        def one(numbered):
            number, (kind, rounds) = numbered
            generator = random.Random(1000 * options.seed + number)
            with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as folder:
                tally = run_chain(kind, Path(folder), references[kind], compiled, rounds, generator)
            with lock:
                total.add(tally)
                kills = sum(v for k, v in total.counts.items() if k[7:] in {k.name for k in KINDS})
                failed = len(total.failures)
                print(
                    f"{time.monotonic() - began:.0f} s: {kills} kills, {failed} failures "
                    f"(after {rounds} of {kind.name})",
                    *tally.failures,
                    sep="\n",
                    flush=True,
                )

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(prepare, dict.fromkeys(kind for kind, _ in chains)))
            list(pool.map(one, enumerate(chains)))
    print(total)
    print(f"{options.rounds} kills in {time.monotonic() - began:.0f} s")
    return int(bool(total.failures))


if __name__ == "__main__":
    sys.exit(main())
