"""A run owns its folder: one run at a time, and a stale lock is not an obstacle."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

from cdcd_jax.training.checkpoints import lock as lock_module
from cdcd_jax.training.checkpoints.folder import CheckpointError
from cdcd_jax.training.checkpoints.lock import LOCK, FolderInUseError, RunLock, owning
from cdcd_jax.training.checkpoints.owner import describe_process, is_gone


@pytest.fixture
def hurried(monkeypatch):
    """Let what takes minutes take tenths of a second."""
    for name, seconds in {"RENEWAL": 0.05, "BOUND": 0.4, "LEAST_WATCHED": 0.3}.items():
        monkeypatch.setattr(lock_module, name, seconds)


@pytest.fixture
def acquired():
    """Release at the end what a test acquires."""
    locks = []
    yield locks
    for lock in locks:
        lock.release()


def write_lock(folder, **changes):
    folder.mkdir(exist_ok=True)
    owner = describe_process() | {"token": "theirs"} | changes
    (folder / LOCK).write_text(json.dumps(owner))
    return owner


def acquire(folder, messages, timeout=10.0):
    lock, deadline = RunLock(folder, report=messages.append), time.monotonic() + timeout
    while not lock.try_acquire():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return lock


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_process_is_refused_with_host_and_pid(tmp_path):
    owner = write_lock(tmp_path / "run")
    with (
        pytest.raises(FolderInUseError, match=rf"process {os.getpid()} on host {owner['host']}"),
        owning(tmp_path / "run"),
    ):
        pass
    assert json.loads((tmp_path / "run" / LOCK).read_text())["token"] == "theirs"


@pytest.mark.parametrize("change", ["pid", "process_start"])
def test_a_lock_of_a_process_that_is_gone_is_taken_over_at_once(tmp_path, change):
    """Also where its number is another process's by now, such as 1 in a container."""
    write_lock(tmp_path, **{change: ended_process() if change == "pid" else "12345"})
    messages = []
    with owning(tmp_path, report=messages.append) as check_owned:
        check_owned()
        assert "Taking over the lock of process" in messages[0]
    assert list(tmp_path.iterdir()) == []


def test_a_zombie_is_gone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    while not is_gone(describe_process() | {"pid": process.pid}):
        time.sleep(0.01)
    process.wait()


def test_another_machines_lock_that_is_renewed_is_respected(tmp_path, hurried):
    write_lock(tmp_path, machine="another")
    ended = threading.Event()

    def renew():
        while not ended.wait(0.05):
            os.utime(tmp_path / LOCK)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(FolderInUseError, match="is being written by process"):
            acquire(tmp_path, [])
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("age", [0, 30 * 86400, -30 * 86400])
def test_another_machines_lock_that_is_not_renewed_is_taken_over_after_a_bound(
    tmp_path, hurried, acquired, age
):
    """However the clocks of its machine and of the storage may have jumped."""
    write_lock(tmp_path, machine="another")
    then = time.time() - age
    os.utime(tmp_path / LOCK, (then, then))
    messages, began = [], time.monotonic()
    acquired.append(acquire(tmp_path, messages))
    assert 0.25 < time.monotonic() - began < 5
    assert "taking it over if it is not renewed within" in messages[0]
    assert messages[1].startswith("Taking over the lock of")


def test_a_lock_that_is_damaged_is_watched_like_another_machines(tmp_path, hurried, acquired):
    (tmp_path / LOCK).write_bytes(b"\x00\xff[")
    acquired.append(acquire(tmp_path, messages := []))
    assert "process unknown on host unknown" in messages[0]


NO_LOCKS = {
    "named pipe": os.mkfifo,
    "folder": os.mkdir,
    "link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("kind", NO_LOCKS)
def test_what_is_no_regular_file_is_refused_as_a_lock_in_one_sentence(tmp_path, kind):
    NO_LOCKS[kind](tmp_path / LOCK)
    with (
        pytest.raises(CheckpointError, match=rf"lock\.json cannot be read as a lock .*{kind}"),
        owning(tmp_path),
    ):
        pass


@pytest.mark.parametrize("kind", NO_LOCKS)
def test_what_is_no_regular_file_in_place_of_a_lock_does_not_stop_a_run(tmp_path, hurried, kind):
    with owning(tmp_path) as check_owned:
        (tmp_path / LOCK).unlink()
        NO_LOCKS[kind](tmp_path / LOCK)
        time.sleep(0.1)  # the renewal meets it too
        check_owned()
    assert os.path.lexists(tmp_path / LOCK)


def test_what_was_taken_over_is_written_no_more(tmp_path):
    with owning(tmp_path) as check_owned:
        write_lock(tmp_path, pid=4321)
        with pytest.raises(FolderInUseError, match="taken over by process 4321"):
            check_owned()
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == 4321


@pytest.mark.parametrize("instead", [False, True], ids=["nothing", "another"])
def test_a_run_whose_folder_was_moved_writes_nothing_more(tmp_path, instead):
    run, moved = tmp_path / "run", tmp_path / "moved"
    with owning(run) as check_owned:
        run.rename(moved)
        if instead:
            run.mkdir()
        words = "is another folder now" if instead else "is not there any more"
        with pytest.raises(FolderInUseError, match=f"run {words}"):
            check_owned()
        assert not instead or not list(run.iterdir())
    assert run.exists() == instead


def test_a_folder_that_was_moved_may_be_a_link_at_its_old_path(tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    with owning(run) as check_owned:
        run.rename(moved)
        run.symlink_to(moved)
        (run / LOCK).unlink()
        check_owned()
        assert (moved / LOCK).exists()


def test_the_lock_of_a_folder_that_was_copied_is_taken_over(tmp_path):
    run, copy, moved = (tmp_path / name for name in ("run", "copy", "moved"))
    with owning(run):
        (run / "file").touch()
        shutil.copytree(run, copy)
        with owning(copy, report=(messages := []).append) as check_owned:
            check_owned()
        assert f"writes to {run}; {copy} is a copy of that" in messages[0]
        run.rename(moved)  # whose process goes on for a moment
        with pytest.raises(FolderInUseError, match="is being written by"), owning(moved):
            pass


def test_a_lock_that_somebody_removed_is_made_again(tmp_path):
    with owning(tmp_path) as check_owned:
        (tmp_path / LOCK).unlink()
        check_owned()
        assert (tmp_path / LOCK).exists()


def test_a_lock_is_renewed_and_the_thread_survives_what_fails(tmp_path, hurried, monkeypatch):
    with owning(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        monkeypatch.setattr(lock_module, "read_lock", lambda path: _fail())
        time.sleep(0.2)
        monkeypatch.undo()
        deadline = time.monotonic() + 30
        while (tmp_path / LOCK).stat().st_mtime < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _fail():
    raise OSError("the storage is away")


def test_of_many_that_find_a_stale_lock_one_takes_it(tmp_path, acquired):
    write_lock(tmp_path, pid=ended_process())
    start = threading.Barrier(8)

    def contend(_):
        lock = RunLock(tmp_path, report=lambda line: None)
        start.wait()
        try:
            while not lock.try_acquire():
                time.sleep(0.001)
        except FolderInUseError:
            return None
        return lock

    with ThreadPoolExecutor(8) as pool:
        acquired += [lock for lock in pool.map(contend, range(8)) if lock is not None]
    assert len(acquired) == 1


def test_one_process_may_own_a_folder_in_several_places(tmp_path):
    with owning(tmp_path / "run"):
        with owning(tmp_path / "run") as check_owned:
            check_owned()
        assert (tmp_path / "run" / LOCK).exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("host", [0, 1])
def test_all_hosts_wait_for_each_other_equally_often(tmp_path, monkeypatch, host):
    """A collective more on one of them, and the run never goes on."""
    words = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_index", lambda: host)
    word = lambda ours: words.append(ours) or [lock_module._OWNED]  # noqa: E731
    monkeypatch.setattr(lock_module, "broadcast_from_host0", word)
    with owning(tmp_path), owning(tmp_path):
        assert len(words) == 1
    with owning(tmp_path):
        assert len(words) == 2


def test_a_link_may_lead_to_a_folder_that_is_still_to_be_made(tmp_path):
    (tmp_path / "run").symlink_to("elsewhere")
    with owning(tmp_path / "run"):
        assert (tmp_path / "elsewhere" / LOCK).exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with owning(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
