"""What Orbax prints of reads that were abandoned; their failure is raised once."""

import sys
import threading
import time

import pytest
import tensorstore

from cdcd_jax.training.checkpoints.orbax import without_stray_messages


def report_later(error):
    """Let a read end after what waited for it has gone, as of a checkpoint that vanished."""
    promise, future = tensorstore.Promise.new()

    def report(_):
        raise error

    future.add_done_callback(report)
    thread = threading.Thread(target=promise.set_result, args=(1,))
    thread.start()
    thread.join()
    time.sleep(0.05)


def test_only_what_ends_too_late_is_dropped(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: reported.append(found.exc_value))
    for _ in range(2):
        with pytest.raises(OSError, match="vanished"), without_stray_messages():
            raise OSError("vanished")
    report_later(RuntimeError("Event loop is closed"))
    assert reported == []
    report_later(RuntimeError("another"))
    assert [str(error) for error in reported] == ["another"]
