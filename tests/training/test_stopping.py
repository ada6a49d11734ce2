"""Signals: none is lost; what comes between two trainings of one process ends the second."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from jax.experimental import multihost_utils

from cdcd_jax.training.stopping import Stopper

ROOT = Path(__file__).parents[2]


class Service:
    """JAX's preemption service on one host: all stop when asked with the number after the last."""

    def __init__(self):
        self.last, self.stop_at = 0, None

    def reached(self, number):
        self.last = number
        return number == self.stop_at

    def notice(self):
        self.stop_at = self.last + 1


def test_a_notice_after_the_codecs_training_ends_the_next_at_its_first_step(monkeypatch):
    service = Service()
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", service.reached)
    stopper = Stopper(others=True)
    try:
        assert not any(stopper.requested_at(step) for step in range(1, 8))
        service.notice()
        assert stopper.requested_at(1)
        assert stopper.exit_code == 0
    finally:
        stopper.uninstall()


SIGNAL_IN_A_CALLBACK = """
import gc, signal
from cdcd_jax.training.stopping import Stopper
Stopper()
gc.callbacks.append(lambda *_: signal.raise_signal(signal.{name}))
print("before", end="")
gc.collect()
print("lost")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_ends_the_program_where_exceptions_are_lost(fork_server, tmp_path, name, code):
    """JAX has a callback of Python's garbage collection, and what that raises is only printed."""
    program = tmp_path / "program.py"
    program.write_text(SIGNAL_IN_A_CALLBACK.format(name=name))
    process = fork_server.popen([], program=program, stdout=tmp_path / "output.txt")
    assert process.finish() == f"beforeEnded by {name}; there was nothing to save\n"
    assert process.returncode == code


SIGNAL_WHILE_WRITING = """
import signal
from pathlib import Path
from cdcd_jax.io import atomic_write, atomic_folder
from cdcd_jax.training.stopping import Stopper
Stopper()
with atomic_folder(Path("out")) as folder, atomic_write(Path("out.npz")) as file:
    for name in ("deep/a.png", "b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("half")
    (folder / "link").symlink_to(Path("kept").absolute())
    file.write_text("half")
    signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_leaves_no_half_of_a_file_or_folder(fork_server, tmp_path):
    program, work = tmp_path / "program.py", tmp_path / "work"
    program.write_text(SIGNAL_WHILE_WRITING)
    (work / "kept").mkdir(parents=True)
    (work / "kept" / "file").write_text("")
    process = fork_server.popen([], program=program, cwd=work, stdout=tmp_path / "output.txt")
    assert process.finish() == "Ended by SIGTERM; there was nothing to save\n"
    assert process.returncode == 143
    assert sorted(path.name for path in work.rglob("*")) == ["file", "kept"]


SCRIPT = """
import sys
from cdcd_jax.main import run_command
sys.exit(run_command())
"""  # as pip writes it to bin/cdcd


@pytest.mark.parametrize(
    ("name", "code", "as_script"),
    [
        ("SIGTERM", 143, False),
        ("SIGINT", 130, False),
        ("SIGHUP", 129, False),
        ("SIGTERM", 143, True),
    ],
)
def test_a_signal_during_the_imports_ends_with_a_sentence(name, code, as_script, tmp_path):
    number = getattr(signal, name)
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("ignored here, as under nohup, and so by what is started")
    script = tmp_path / "cdcd"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, *([str(script)] if as_script else ["-m", "cdcd_jax.main"])],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    status = Path(f"/proc/{process.pid}/status")
    # Until it is handled: Python itself handles SIGINT from its start.
    while not int(status.read_text().split("SigCgt:\t")[1].split()[0], 16) >> 14 & 1:
        assert process.poll() is None
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert output == f"Ended by {name}; there was nothing to save\n"
    assert process.returncode == code


SIGNAL_BESIDE_A_BAR = """
import signal
from tqdm import tqdm
from cdcd_jax.cli.streams import guard_output
from cdcd_jax.training.stopping import Stopper
stopper = Stopper()
guard_output(stopper.lose_output)
bar = tqdm(total=20)
signal.raise_signal(signal.SIGTERM)
"""


def test_the_last_sentence_is_below_a_progress_bar(fork_server, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SIGNAL_BESIDE_A_BAR)
    process = fork_server.popen([], program=program, stdout=tmp_path / "output.txt")
    *_, bar, sentence = process.finish().splitlines()
    assert "0/20" in bar
    assert sentence == "Ended by SIGTERM; there was nothing to save"
