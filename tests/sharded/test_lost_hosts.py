"""Two processes: one is killed, silenced, told to stop, or cannot read; the other does not hang."""

import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from checkpoint_steps import SAVING, newest_begun, newest_step
from hosts import TOY, Hosts

pytestmark = pytest.mark.slow

ROUNDS = 20
NUM_STEPS = 150
BOUND = 60
"""Seconds within which a host must have ended after the other was killed: at once where it was
talking to it, after HEARTBEAT where it was only waiting, as for the end of a save."""

HEARTBEAT = 8


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


def load_state(workdir):
    with np.load(workdir / "state.npz") as file:
        return {name: file[name] for name in file.files}


def run_all(workdir, logs, *flags, timeout=120, **options):
    """Run hosts to their end, which must be a good one."""
    with Hosts([TOY, workdir, *flags], logs, **options) as hosts:
        codes = hosts.wait(timeout)
        assert set(codes.values()) == {0}, hosts.outputs()
        return hosts.outputs()


def assert_equal_bits(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_killed_twenty_times_two_hosts_end_as_if_they_had_not_been(tmp_path, compiled):
    """SIGKILL to one of two while they start, step or save; then both are started again."""
    flags = (f"--num_steps={NUM_STEPS}", "--checkpoint_every=3", "--fsdp=2")
    run_all(tmp_path / "whole", tmp_path / "logs", *flags, compiled=compiled)
    workdir, generator = tmp_path / "run", random.Random(0)
    checkpoints = workdir / "checkpoints"
    seconds, mid_save = [], 0
    for i in range(ROUNDS):
        victim, moment = generator.randrange(2), ("start", "step", "save")[i % 3]
        started, logs = time.monotonic(), tmp_path / f"round{i}"
        # What the last round was writing when it was killed is still there.
        before = newest_begun(checkpoints)
        # Before they have joined, the other waits for as long as it was told to.
        patience = (
            f"--host_timeout={4 if moment == 'start' else 60}",
            f"--heartbeat_timeout={HEARTBEAT}",
        )
        with Hosts([TOY, workdir, *flags, *patience], logs, compiled=compiled) as hosts:
            if moment == "start":
                time.sleep(generator.uniform(0.0, 1.5))
            else:
                at_least = before + generator.randint(1, 7)
                suffix = SAVING if moment == "save" else ""
                hosts.wait_for(lambda: newest_step(checkpoints, suffix) >= at_least)  # noqa: B023
                time.sleep(generator.uniform(0.0, 0.02))
            hosts.send(victim)
            killed = time.monotonic()
            mid_save += newest_step(checkpoints, SAVING) > max(before, newest_step(checkpoints))
            codes = hosts.wait(BOUND)
            assert codes[victim] == -signal.SIGKILL
            assert codes[1 - victim] not in (0, -signal.SIGKILL), hosts.outputs()
            seconds.append((time.monotonic() - started, time.monotonic() - killed))
        assert newest_step(checkpoints) < NUM_STEPS, "killed too late to tell anything"
    whole_round, survivor = np.mean(seconds, axis=0)
    print(f"{ROUNDS} rounds of {whole_round:.1f} s; the survivor ended after {survivor:.2f} s")
    assert mid_save >= 2
    output = run_all(workdir, tmp_path / "last", *flags, compiled=compiled)
    assert "damaged" not in output
    assert_equal_bits(load_state(workdir), load_state(tmp_path / "whole"))
    for name in names_in(checkpoints):  # every one of them can be gone on from
        shutil.copytree(checkpoints / name, tmp_path / name / "checkpoints" / name)
        output = run_all(
            tmp_path / name,
            tmp_path / f"again{name}",
            *flags,
            num_hosts=1,
            num_devices=2,
            compiled=compiled,
        )
        assert f"Going on from step {name} " in output or int(name) == NUM_STEPS


def names_in(folder):
    return os.listdir(folder) if folder.exists() else []


def test_sigterm_to_one_host_stops_all_at_the_same_step(tmp_path, compiled):
    flags = ("--num_steps=500", "--checkpoint_every=50", "--pause=0.05")
    workdir = tmp_path / "run"
    with Hosts([TOY, workdir, *flags], tmp_path / "logs", compiled=compiled) as hosts:
        hosts.wait_for((workdir / "metrics.jsonl").exists)
        hosts.send(1, signal.SIGTERM)
        codes = hosts.wait(60)
        assert set(codes.values()) == {0}, hosts.outputs()
        assert hosts.last_line(0).startswith("Saved step")
        step = newest_step(workdir / "checkpoints")
        assert 0 < step < 500
        assert f"Saved step {step};" in hosts.last_line(0)
    flags = (f"--num_steps={step + 2}",)
    assert "damaged" not in run_all(workdir, tmp_path / "again", *flags, compiled=compiled)
    run_all(tmp_path / "whole", tmp_path / "logs", *flags, compiled=compiled)
    assert_equal_bits(load_state(workdir), load_state(tmp_path / "whole"))


def test_what_one_host_cannot_read_is_damaged_for_all(tmp_path, compiled):
    workdir, flags = tmp_path / "run", ("--num_steps=6", "--fsdp=4")
    options = {"num_devices": 2, "compiled": compiled}
    run_all(workdir, tmp_path / "logs", *flags, **options)
    whole = load_state(workdir)
    for number, (damage, extra) in enumerate(((None, "--unreadable_on=1"), ("d", "--fsdp=4"))):
        if damage:
            folder = workdir / "checkpoints" / "6" / "state" / damage
            for path in folder.iterdir():
                os.truncate(path, path.stat().st_size // 2)
        output = run_all(workdir, tmp_path / f"again{number}", *flags, extra, **options)
        assert output.count("6 is damaged or cut short.") == 1
        assert output.count("Going back to the checkpoint of step 3.") == 1
        assert_equal_bits(load_state(workdir), whole)


def test_a_missing_host_is_named_within_the_time_given(tmp_path):
    flags = ("--host_timeout=3",)
    with Hosts(
        [TOY, tmp_path / "run", *flags], tmp_path / "logs", num_hosts=3, start=[0, 2]
    ) as hosts:
        codes = hosts.wait(60)
        assert set(codes.values()) == {1}, hosts.outputs()
        for index in (0, 2):
            assert f"host 1 of 3 has not joined {hosts.coordinator} within 3 s" in hosts.last_line(
                index
            )
            assert "Traceback" not in hosts.output(index)


def test_a_run_moves_between_hosts_and_meshes(tmp_path, compiled):
    """Two hosts of four devices, then one of eight, then one of one: the same data and losses."""
    moves = [
        {"num_hosts": 2, "num_devices": 4, "fsdp": 4},
        {"num_hosts": 1, "num_devices": 8, "fsdp": 2},
        {"num_hosts": 1, "num_devices": 1, "fsdp": 1},
        {"num_hosts": 2, "num_devices": 2, "fsdp": 2},
    ]
    for i, move in enumerate(moves):
        fsdp = f"--fsdp={move.pop('fsdp')}"
        steps = f"--num_steps={3 * (i + 1)}"
        run_all(tmp_path / "run", tmp_path / f"l{i}", steps, fsdp, compiled=compiled, **move)
    run_all(tmp_path / "whole", tmp_path / "w", "--num_steps=12", num_hosts=1, compiled=compiled)
    moved, whole = load_state(tmp_path / "run"), load_state(tmp_path / "whole")
    assert moved.keys() == whole.keys()
    for name in whole:
        np.testing.assert_allclose(moved[name], whole[name], rtol=1e-5, err_msg=name)
