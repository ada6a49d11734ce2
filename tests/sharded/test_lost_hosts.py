"""Two processes: one is killed, silenced, told to stop, or cannot read; the other does not hang."""

import os
import signal

import numpy as np
import pytest

from tests.support.checkpoint_steps import newest_step
from tests.support.hosts import TOY, Hosts

pytestmark = pytest.mark.slow


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
