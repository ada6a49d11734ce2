"""Resuming: exact, with a way out where a checkpoint does not fit, is damaged or has no room."""

import asyncio
import dataclasses
import gc
import json
import os
import shutil

import jax
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import make_mesh, replicated
from cdcd_jax.training.checkpoints.checksums import checksums
from cdcd_jax.training.checkpoints.folder import CheckpointError
from cdcd_jax.training.checkpoints.manager import Checkpoints, RunProgress
from cdcd_jax.training.checkpoints.orbax import without_stray_messages
from cdcd_jax.training.checkpoints.reader import CheckpointReader
from cdcd_jax.training.loop import TrainingDivergedError
from cdcd_jax.training.state import abstract_state
from tests.support.toy_run import CONFIG, assert_same, make_run, run


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def saved_steps(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


@pytest.fixture(scope="module")
def four_steps(tmp_path_factory):
    """Return the folder of a run of four steps, saved at two and four, and its final state."""
    folder = tmp_path_factory.mktemp("four_steps")
    return folder, run(folder, 4)[0]


@pytest.fixture
def own_four_steps(four_steps, tmp_path):
    """Return a copy of the run to damage, and its final state."""
    return shutil.copytree(four_steps[0], tmp_path / "run"), four_steps[1]


def test_two_steps_restore_and_two_more_are_four(tmp_path, four_steps):
    run(tmp_path, 2)
    parts, _ = run(tmp_path, 4)
    assert int(parts.step) == 4
    assert_same(parts, four_steps[1])


def test_time_is_counted_over_restarts(tmp_path):
    _, first = run(tmp_path, 2)
    _, second = run(tmp_path, 4)
    assert second > first > 0
    assert run(tmp_path, 4)[1] == second


def test_a_state_moves_between_device_counts(tmp_path):
    one, _ = run(tmp_path, 2)
    eight, _ = run(tmp_path, 2, devices=8)
    assert len(eight.params["w"].sharding.device_set) == 8
    assert_same(one, eight)


def test_metrics_tell_each_step_once(tmp_path):
    run(tmp_path, 10, checkpoint_every=5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "loss": 1.0}\n{"step": 20, "lo')  # what a kill leaves behind
    run(tmp_path, 20, checkpoint_every=5)
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]
    assert set(lines(tmp_path)[0]) == {"step", "loss", "vb", "grad_norm", "lr", "skipped"}


def test_newest_and_best_are_kept(tmp_path):
    fresh, _ = make_run()
    with Checkpoints(tmp_path, compatibility=CONFIG, keep=2) as saved:
        for step, loss in enumerate([3.0, 1.0, 5.0, 4.0, 6.0], start=1):
            state = fresh()
            state = type(state)(**(vars(state) | {"step": state.step + step}))
            saved.save(state, RunProgress({"position": step}, 0.0), loss=loss)
        saved.wait()
        assert saved.steps == [2, 4, 5]


def test_another_configuration_is_refused_by_its_differing_keys(tmp_path):
    run(tmp_path, 2)
    other = {"denoiser.width": 8, "optimizer.lr": 0.01, "loss.num_negatives": 3}
    with pytest.raises(
        ValueError,
        match=r"denoiser\.width = 4 there, 8 now; loss\.num_negatives = 'absent' there, 3 now",
    ):
        run(tmp_path, 4, config=other)
    assert saved_steps(tmp_path) == [2]


def test_mutable_keys_of_an_earlier_version_is_no_other_configuration(tmp_path):
    run(tmp_path, 2, config=CONFIG | {"denoiser.remat": False})
    fresh, _ = make_run()
    template = abstract_state(fresh, replicated(make_mesh(jax.devices()[:1])))
    folder, mutable_keys = tmp_path / "checkpoints", ("denoiser.remat", "denoiser.attention")
    with Checkpoints(folder, compatibility=CONFIG, mutable_keys=mutable_keys) as saved:
        found = saved.restore(template)
    assert found is not None
    assert int(found[0].step) == 2


def test_a_checkpoint_with_other_arrays_is_of_another_version_and_stays(own_four_steps):
    folder, _ = own_four_steps
    fresh, _ = make_run()
    state = abstract_state(fresh, replicated(make_mesh(jax.devices()[:1])))
    newer = dataclasses.replace(state, stats={"seen": state.stats["seen"], "told": state.step})
    with (
        Checkpoints(folder / "checkpoints", compatibility=CONFIG) as saved,
        pytest.raises(CheckpointError, match=r"another version .*\(stats\.told\); finish that run"),
    ):
        saved.restore(newer)
    assert saved_steps(folder) == [2, 4]


def test_arrays_of_another_type_are_named_and_not_called_damaged(own_four_steps):
    folder, _ = own_four_steps
    with (
        jax.enable_x64(True),
        pytest.raises(CheckpointError, match="is float32 there, float64 now"),
    ):
        read(folder)
    assert saved_steps(folder) == [2, 4]


def data_files(checkpoint):
    files = [p for p in checkpoint.rglob("*") if p.is_file() and p.stat().st_size > 0]
    return sorted(files, key=lambda path: path.stat().st_size)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def remove_half(path):
    path.unlink()


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, remove_half, flip_a_byte])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(own_four_steps, damage):
    folder, whole = own_four_steps
    for path in data_files(folder / "checkpoints" / "4" / "state" / "d"):
        damage(path)
    messages = []
    again, _ = run(folder, 4, report=messages.append)
    assert "4 is damaged or cut short" in messages[0]
    assert messages[1] == "Going back to the checkpoint of step 2."
    assert_same(again, whole)
    kept = folder / "checkpoints" / "damaged"
    assert messages[2] == f"What is damaged is kept in {kept}, where nothing reads it."
    assert (kept / "4" / "_CHECKPOINT_METADATA").exists()
    messages.clear()
    run(folder, 4, report=messages.append)
    assert messages == []


@pytest.mark.slow
def test_every_file_of_a_checkpoint_may_be_truncated(tmp_path, four_steps):
    """Whatever file is cut short, the run is resumed from one of the two checkpoints, exactly."""
    folder, whole = four_steps
    names = [p.relative_to(folder) for p in data_files(folder / "checkpoints/4")]
    assert len(names) > 5
    for i, name in enumerate(names):
        shutil.copytree(folder, tmp_path / str(i))
        truncate(tmp_path / str(i) / name)
        again, _ = run(tmp_path / str(i), 4, report=lambda sentence: None)
        assert_same(again, whole)


def test_damage_a_second_time_is_kept_beside_the_first(own_four_steps):
    folder, whole = own_four_steps
    for _ in range(2):
        truncate(folder / "checkpoints" / "4" / "_CHECKPOINT_METADATA")
        assert_same(run(folder, 4, report=lambda sentence: None)[0], whole)
    names = {path.name for path in (folder / "checkpoints" / "damaged").iterdir()}
    assert names == {"4", "4-2"}


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def read(folder, report=lambda sentence: None):
    fresh, _ = make_run()
    template = abstract_state(fresh, replicated(make_mesh(jax.devices()[:1])))
    return CheckpointReader(folder / "checkpoints", compatibility=CONFIG).read_newest(
        template, report=report
    )


def test_a_reader_changes_nothing(own_four_steps, tmp_path):
    """Neither a save that goes on, nor a checkpoint that it cannot read, nor a loss."""
    folder, _ = own_four_steps
    checkpoints = folder / "checkpoints"
    shutil.copytree(checkpoints / "2", checkpoints / "6.orbax-checkpoint-tmp")
    for path in data_files(checkpoints / "4" / "state" / "d"):
        truncate(path)
    truncate(checkpoints / "2" / "metrics" / "metrics")
    before, messages = snapshot(folder), []
    found = read(folder, messages.append)
    assert found is not None
    assert int(found.state.step) == 2
    assert found.damaged == (4,)
    assert len(messages) == 2
    assert snapshot(folder) == before
    assert read(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


def test_a_reader_takes_the_next_where_a_training_removes_what_it_reads(
    own_four_steps, monkeypatch
):
    folder, _ = own_four_steps
    checkpoints, load = folder / "checkpoints", CheckpointReader._load
    shutil.move(checkpoints / "4", folder / "4")

    def remove_and_load(reader, step, template):
        monkeypatch.setattr(CheckpointReader, "_load", load)
        shutil.move(folder / "4", checkpoints / "4")
        shutil.rmtree(checkpoints / "2" / "state")  # half of it, so far
        return load(reader, step, template)

    monkeypatch.setattr(CheckpointReader, "_load", remove_and_load)
    messages = []
    found = read(folder, messages.append)
    assert found is not None
    assert int(found.state.step) == 4
    assert (found.damaged, messages) == ((), [])


def test_failed_tasks_of_a_reading_that_nobody_waits_for_are_not_logged(caplog):
    async def fail():
        raise ValueError

    async def begin_and_leave():
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0.01)
        assert task.done()

    with without_stray_messages():
        asyncio.run(begin_and_leave())
    assert not caplog.records
    asyncio.run(begin_and_leave())
    gc.collect()
    assert "never retrieved" in caplog.text


def test_if_all_are_damaged_nothing_is_removed(own_four_steps):
    folder, _ = own_four_steps
    for step in (2, 4):
        for path in data_files(folder / "checkpoints" / str(step)):
            truncate(path)
    with pytest.raises(CheckpointError, match=r"None of the checkpoints .*steps \[2, 4\]"):
        run(folder, 6, report=lambda sentence: None)
    assert saved_steps(folder) == [2, 4]
    with pytest.raises(CheckpointError, match="all of them are still there"):
        read(folder)


@pytest.mark.parametrize("name", ["50% of #3", "grün und blau", "a=b{c}'d"])
def test_a_path_is_taken_as_it_is(tmp_path, name):
    run(tmp_path / name, 2)
    assert int(run(tmp_path / name, 4)[0].step) == 4


@pytest.mark.parametrize("name", ["[a]", "a*", "a?", "a\\b", "a\nb", "a\udcffb"])
def test_a_path_that_checkpoints_cannot_be_read_back_from_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="in its path, which checkpoints cannot be read back"):
        run(tmp_path / name, 2)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_save_are_cleared(tmp_path):
    run(tmp_path, 2)
    leftover = tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "2", leftover)
    state, _ = run(tmp_path, 4)
    assert int(state.step) == 4
    assert not leftover.exists()


def test_a_folder_that_is_only_like_a_step_is_left_alone(tmp_path):
    run(tmp_path, 2)
    (tmp_path / "checkpoints" / "2").rename(tmp_path / "checkpoints" / "002")
    state, _ = run(tmp_path, 2)
    assert int(state.step) == 2
    assert {"002", "2"} <= {path.name for path in (tmp_path / "checkpoints").iterdir()}


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(TrainingDivergedError, match="not finite at step 4"):
        run(tmp_path, 20, bad={3})
    assert saved_steps(tmp_path) == [2]
    assert [line["step"] for line in lines(tmp_path)] == [2]
    resumed, _ = run(tmp_path, 6)  # the same run with the data repaired
    clean, _ = run(tmp_path / "clean", 6)
    assert_same(resumed, clean)


def test_skipped_steps_are_reported_left_out_of_the_means_and_resumed(tmp_path, capsys):
    options = {"bad": {1, 2, 6}, "max_skipped": 2, "checkpoint_every": 3}
    whole, _ = run(tmp_path / "whole", 10, **options)
    messages = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert messages == [
        "2 of the steps up to 3 had a loss or gradient that is not finite and were skipped "
        "(2 in all)",
        "1 of the steps up to 9 had a loss or gradient that is not finite and were skipped "
        "(3 in all)",
    ]
    reports = lines(tmp_path / "whole")
    assert [report["skipped"] for report in reports] == [2, 2, 2, 3, 3]
    assert all(np.isfinite(report["loss"]) for report in reports)
    run(tmp_path / "parts", 3, **options)  # ends on a skipped step
    parts, _ = run(tmp_path / "parts", 10, **options)
    assert int(parts.skipped) == 3
    assert_same(parts, whole)


def test_a_window_of_skipped_steps_has_no_means(tmp_path):
    run(tmp_path, 4, bad={2, 3}, max_skipped=2)
    assert set(lines(tmp_path)[1]) == {"step", "lr", "skipped"}


def test_too_many_skipped_steps_in_a_row_are_counted(tmp_path):
    with pytest.raises(TrainingDivergedError, match="step 6; the same holds for the 2 steps befo"):
        run(tmp_path, 20, bad={1, 3, 4, 5}, max_skipped=2)
    assert saved_steps(tmp_path) == [2, 4]


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot be written to .*checkpoints"):
        Checkpoints(tmp_path / "checkpoints", compatibility=CONFIG)


def test_a_reader_names_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"checkpoints cannot be listed: .*Not a directory"):
        read(tmp_path)


def test_a_small_disk_is_noticed_before_training(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    fresh, _ = make_run()
    state = abstract_state(fresh, replicated(make_mesh(jax.devices()[:1])))
    with (
        Checkpoints(tmp_path, compatibility=CONFIG) as saved,
        pytest.raises(CheckpointError, match=r"0\.0 MB free"),
    ):
        saved.check_space(state)


def test_the_same_numbers_in_another_order_have_another_checksum():
    x = np.arange(6, dtype=np.float32)
    assert np.array_equal(checksums({"x": x}), checksums({"x": x.copy()}))
    assert not np.array_equal(checksums({"x": x}), checksums({"x": x[::-1].copy()}))
    assert not np.array_equal(checksums({"x": x}), checksums({"x": np.zeros_like(x)}))
