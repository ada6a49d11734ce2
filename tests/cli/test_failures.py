"""Whatever is raised ends in one sentence, an exit code and a trace in a file."""

import os
import re
import signal
import struct
import threading

import jax
import pytest
from absl.testing import flagsaver

from cdcd_jax.cli import commands, failures
from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.cli.streams import GuardedFile
from cdcd_jax.training.checkpoints.folder import CheckpointError
from cdcd_jax.training.stopping import Stopper

SMOKE = "--config=configs/digits_vanilla.py:smoke"
FULL = "/dev/full"


def caught(error):
    try:
        raise error
    except BaseException as raised:
        return raised


@pytest.mark.parametrize(
    "error",
    [
        KeyError("image"),
        TypeError("no"),
        RecursionError("maximum recursion depth exceeded"),
        OverflowError("int too large"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        struct.error("unpack requires a buffer of 4 bytes"),
        ValueError("raised outside of the package"),
        jax.errors.JaxRuntimeError("INTERNAL: something\nmore"),
        AssertionError(),
        StopIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_expected_is_said_with_its_type_and_trace(
    run_here, monkeypatch, error, tmp_path
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(commands, "_train", fail)
    (tmp_path / "run").mkdir()
    code, output = run_here(SMOKE, f"--workdir={tmp_path / 'run'}")
    assert code == 1
    assert output.count("\n") == 1
    assert output.startswith("Error: --mode=train failed in cdcd_jax/cli/commands.py, line ")
    assert type(error).__name__ in output
    assert output.endswith(f"the trace is in {tmp_path / 'run' / 'error.txt'}\n")
    trace = (tmp_path / "run" / "error.txt").read_text()
    assert "Traceback" in trace
    assert SMOKE in trace
    code, output = run_here(SMOKE, f"--workdir={tmp_path / 'none'}", "--debug")
    assert "Traceback" in output  # which was wanted
    file = re.search(r"the trace is in (.*)\n", output)
    assert file
    assert not (tmp_path / "none").exists()
    os.unlink(file[1])


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (CheckpointError("there is none;\n  train first"), 1, "there is none; train first"),
        (OSError(28, "No space left on device", "a.bin"), 1, "a.bin: No space left on device"),
        (OSError(21, "Is a directory", "a"), 2, "a: Is a directory"),
    ],
)
def test_what_is_expected_keeps_its_words(error, code, sentence):
    assert failures.explain(caught(error))[:2] == (sentence, code)


@pytest.mark.parametrize(
    ("mode", "key"),
    [("train", "train.batch_size"), ("sample", "--num_samples"), ("prepare", "codec.batch_size")],
)
def test_memory_that_is_used_up_names_what_takes_less(mode, key):
    FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(mode=mode):
        for error in (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."),
            MemoryError("Unable to allocate 1.5 TiB for an array"),
        ):
            sentence, code, expected = failures.explain(caught(error))
            assert (code, expected) == (1, False)
            assert key in sentence


def test_long_values_are_cut():
    assert len(failures.explain(caught(CheckpointError("9" * 5000 + " is wrong"))).sentence) < 100
    assert len(failures.explain(caught(CheckpointError("many words " * 5000))).sentence) < 1100


def test_a_thread_that_fails_costs_a_line(capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr("sys.unraisablehook", None)
    failures.watch_threads()
    thread = threading.Thread(target=lambda: {}["key"], name="writer")
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert said.startswith("Warning: in thread <Thread(writer")
    assert said.count("\n") == 1
    os.unlink(said.strip().rpartition(" ")[2])


def test_output_that_cannot_be_written_is_reported_and_not_raised():
    errors = []
    with open(FULL, "wb") as full:
        assert GuardedFile(full.fileno(), errors.append).write(b"abc") == 3
    assert [error.errno for error in errors] == [28]


def test_a_reader_that_has_gone_stops_training_like_a_signal():
    stopper = Stopper()
    try:
        with stopper.deferred():
            stopper.requested_at(1)
            stopper.lose_output(BrokenPipeError(32, "Broken pipe"))
            stopper.lose_output(BrokenPipeError(32, "Broken pipe"))  # which is not a second signal
            assert stopper.requested
            assert stopper.exit_code == 128 + signal.SIGPIPE
    finally:
        stopper.uninstall()


def test_a_terminal_that_has_gone_is_no_reason_to_stop():
    stopper = Stopper()
    try:
        stopper.lose_output(OSError(5, "Input/output error"))
        assert not stopper.requested
    finally:
        stopper.uninstall()


def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stopper = Stopper()
    try:
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        stopper.uninstall()
        signal.signal(signal.SIGHUP, before)
