"""What looks on cannot stop a run: full disks, closed streams, clocks that jump, broken hooks."""

import json
import os
import sys
import time

import jax
import pytest

from cdcd_jax.training import metrics, observers
from cdcd_jax.training.metrics import MetricsWriter
from cdcd_jax.training.observers import Observer
from cdcd_jax.training.profiling import Profile
from cdcd_jax.training.progress import ProgressBar
from tests.support.toy_run import assert_same, run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"), 10, checkpoint_every=10)[0]


def warnings_in(capsys):
    said = capsys.readouterr()
    return [line for line in said.err.splitlines() if line.startswith("Warning: ")]


def refuse(*_, **__):
    raise OSError(28, "No space left on device")


def steps_in(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("failing", ["at its start", "later"])
def test_without_tensorboard_the_run_goes_on(tmp_path, monkeypatch, capsys, undisturbed, failing):
    if failing == "at its start":
        (tmp_path / "tensorboard").write_text("in the way")
    else:
        monkeypatch.setattr(metrics._Events, "write", refuse)
    state, _ = run(tmp_path, 10, checkpoint_every=10)
    assert_same(state, undisturbed)
    assert steps_in(tmp_path / "metrics.jsonl") == [5, 10]
    (warning,) = warnings_in(capsys)
    assert "TensorBoard's file failed" in warning
    assert "left out from now on" in warning


def test_lines_that_a_full_disk_refuses_follow_when_there_is_room(tmp_path, monkeypatch, capsys):
    """Also half of one."""
    write, calls = os.write, []

    def refuse_some(file, content):
        calls.append(content)
        if len(calls) in (2, 4):
            refuse()
        return write(file, content[:7] if len(calls) == 3 else content)

    with MetricsWriter(tmp_path, step=0) as writer:
        monkeypatch.setattr(os, "write", refuse_some)
        for step in range(1, 5):
            writer.write(step, {"loss": float(step)})
    assert steps_in(tmp_path / "metrics.jsonl") == [1, 2, 3, 4]
    (warning,) = warnings_in(capsys)
    assert "metrics.jsonl failed ([Errno 28] No space left on device)" in warning
    assert "training continues" in warning


@pytest.mark.parametrize("read", [False, True], ids=["nobody reads", "somebody reads"])
def test_a_named_pipe_in_place_of_the_lines_is_not_waited_for(tmp_path, capsys, read):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(tmp_path, step=0) as writer:
        writer.write(1, {"loss": 1.0})
        path.unlink()
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if read else None
        writer.write(2, {"loss": 2.0})
        if reader is not None:
            os.close(reader)
        with pytest.raises(OSError, match="named pipe"):
            MetricsWriter(tmp_path, step=2)
        path.unlink()
        writer.write(3, {"loss": 3.0})
    assert steps_in(path) == [2, 3]
    (warning,) = warnings_in(capsys)
    assert "metrics.jsonl failed" in warning


@pytest.mark.parametrize("act", [os.unlink, lambda path: path.rename(f"{path}.1")])
def test_lines_go_to_a_new_file_where_the_old_one_was_taken_away(tmp_path, act):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(tmp_path, step=0) as writer:
        writer.write(1, {"loss": 1.0})
        act(path)
        writer.write(2, {"loss": 2.0})
        writer.write(3, {"loss": 3.0})
    assert steps_in(path) == [2, 3]


def test_a_damaged_line_costs_that_line(tmp_path, capsys):
    good = [b'{"step": 1, "loss": 2.0}', b'{"step": 2}']
    bad = [b"\xff\x00\xfe", b"[" * 100_000, b"9" * 5000, b"3", b'{"step": "a"}']
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([good[0], *bad, good[1], b'{"step": 3}', b'{"step": 2, "lo']))
    with MetricsWriter(tmp_path, step=2):
        pass
    assert path.read_bytes().splitlines() == good
    assert "lost 5 damaged lines" in capsys.readouterr().out


def test_images_that_cannot_be_drawn_are_tried_again(tmp_path, capsys, undisturbed):
    seen = []

    def draw(state):
        seen.append(int(state.step))
        refuse()

    state, _ = run(tmp_path, 10, checkpoint_every=10, sample_every=4, hook=draw)
    assert_same(state, undisturbed)
    assert seen == [4, 8]
    (warning,) = warnings_in(capsys)
    assert "the image of samples failed ([Errno 28] No space left on device)" in warning


@pytest.mark.parametrize("name", ["start_trace", "stop_trace"])
def test_a_profile_that_cannot_be_written_is_left_out(
    tmp_path, monkeypatch, capsys, undisturbed, name
):
    real = getattr(jax.profiler, name)

    def fail():
        if name == "stop_trace":
            real()
        refuse()

    monkeypatch.setattr(jax.profiler, name, lambda *_: fail())
    profile = Profile(first=2, last=3, folder=tmp_path / "profile")
    state, _ = run(tmp_path / "run", 10, checkpoint_every=10, profile=profile)
    assert_same(state, undisturbed)
    assert [w for w in warnings_in(capsys) if "the profile failed" in w]


class Full:
    def write(self, _):
        refuse()

    def flush(self):
        refuse()

    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [None, Full()], ids=["closed", "full"])
def test_without_stderr_the_run_goes_on(tmp_path, monkeypatch, undisturbed, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    state, _ = run(tmp_path, 10, checkpoint_every=10)
    assert_same(state, undisturbed)


def test_a_clock_that_jumps_changes_neither_durations_nor_estimates(tmp_path, monkeypatch, capsys):
    def jump(state):
        monkeypatch.setattr(time, "time", lambda: 1e9)  # some decades back
        monkeypatch.setattr("tqdm.std.time", lambda: 4e9)

    _, seconds = run(tmp_path, 10, checkpoint_every=10, sample_every=4, hook=jump)
    assert 0 < seconds < 600
    bar = ProgressBar(10, 0)
    assert bar._bar is not None
    assert bar._bar.format_dict["elapsed"] < 600
    assert "-" not in capsys.readouterr().err.partition("train:")[2].partition("[")[2]


def test_a_computation_of_many_hosts_that_fails_is_no_observers_alone(monkeypatch):
    def fail():
        raise jax.errors.JaxRuntimeError("INTERNAL: gone")

    observer = Observer("the image of samples", again=True)
    assert observer.call(fail) is None
    monkeypatch.setattr(observers.jax, "process_count", lambda: 2)
    with pytest.raises(jax.errors.JaxRuntimeError):
        observer.call(fail)
