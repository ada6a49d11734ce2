"""The command line as a user types it: to the end, interrupted, killed, and mistyped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.training.checkpoints.lock import owning
from tests.support.checkpoint_steps import load_arrays, newest_step
from tests.support.quick_compile import quick_environment

ROOT = Path(__file__).parent.parent
SMOKE = "configs/digits_sample_inter.py:smoke"
TINY = (
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.train.sample_every=0",
    "--config.schedule.num_steps=4",
    "--config.eval.num_steps=(2,)",
)
LONG_STEPS = 160
LONG = (*TINY, f"--config.train.num_steps={LONG_STEPS}")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One device, as on a laptop, and what one run compiles serves the next."""
    environment = dict(os.environ, JAX_PLATFORMS="cpu") | quick_environment()
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    return environment


@pytest.fixture
def start(environment, tmp_path, fork_server):
    """Start the command in a folder of this test; whatever still runs at its end is killed."""
    processes = []

    def start(*arguments, config=SMOKE, workdir=tmp_path / "run", **options):
        given = [f"--config={config}"] if config else []
        process = fork_server.popen(
            [*given, f"--workdir={workdir}", *arguments],
            env=environment,
            stdout=tmp_path / f"output{len(processes)}.txt",
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def run(start):
    """Run the command to its end; return its exit code and its output."""

    def run(*arguments, **options):
        process = start(*arguments, **options)
        output = process.finish()
        return process.returncode, output

    return run


@pytest.fixture
def run_as_typed(environment, tmp_path):
    """Run the command by ``python -m``, imports and all; return its exit code and its output."""

    def run_as_typed(*arguments):
        command = [sys.executable, "-m", "cdcd_jax.main", f"--config={SMOKE}"]
        done = subprocess.run(
            [*command, f"--workdir={tmp_path / 'run'}", *arguments],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run_as_typed


def final_state(workdir):
    """Read a run's newest checkpoint as named arrays."""
    checkpoints = workdir / "checkpoints"
    return load_arrays(checkpoints / str(newest_step(checkpoints)))


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.fixture(scope="module")
def never_stopped(environment, tmp_path_factory, fork_server):
    """The last state of a run of LONG that nothing ever stopped, saved once, at its end."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    every = f"--config.train.checkpoint_every={LONG_STEPS}"
    done = fork_server.popen(
        [f"--config={SMOKE}", f"--workdir={workdir}", *LONG, every],
        env=environment,
        stdout=workdir.with_name("output.txt"),
    )
    output = done.finish()
    assert done.returncode == 0, output
    return final_state(workdir)


def reported_steps(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def wait_until(condition, process):
    while not condition():
        assert process.poll() is None, process.finish()
        time.sleep(0.001)


@pytest.mark.slow
def test_smoke_from_training_to_images(run_as_typed, run, tmp_path):
    workdir = tmp_path / "run"
    code, output = run_as_typed()
    assert code == 0, output
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["steps"] == 20
    assert summary["config"]["loss"]["mechanism"] == "sample"
    assert summary["train_seconds"] > 0
    assert summary["bits_per_token"] > 0
    assert 0 <= summary["accuracy"] <= 1
    assert summary["frechet_distance"] > 0
    assert Image.open(summary["sample_grid"]).size[0] > 100
    assert sorted(p.name for p in (workdir / "samples").iterdir()) == [
        "step000010.png",
        "step000020.png",
    ]
    assert reported_steps(workdir) == [5, 10, 15, 20]
    for place in ("summary.json", "samples.png", "checkpoints", "metrics.jsonl"):
        assert f"{workdir}/{place}" in output

    written = {name: (workdir / name).read_bytes() for name in ("summary.json", "samples.png")}
    export = tmp_path / "evaluated.npz"
    code, output = run("--mode=evaluate", f"--export={export}")
    assert code == 0, output
    assert f"Export:      {export}" in output
    assert np.load(export)["arr_0"].shape == (20, 8, 8, 3)
    assert written == {name: (workdir / name).read_bytes() for name in written}
    (folder,) = (workdir / "evaluations").iterdir()
    assert re.fullmatch(
        r"step000020-seed1-num_samples20-num_steps10-truncations0\.86-[0-9a-f]{6}", folder.name
    )
    again = json.loads((folder / "summary.json").read_text())
    assert again["sample_grid"] == str(folder / "samples.png")
    assert (folder / "samples.png").read_bytes() == written["samples.png"]
    for name in ("bits_per_token", "accuracy", "frechet_distance", "steps", "train_seconds"):
        assert again[name] == summary[name]

    export = tmp_path / "sampled"
    asked = ("--num_samples=23", "--num_steps=3", f"--export={export}")
    code, output = run("--mode=sample", *asked)
    assert code == 0, output
    assert sorted(file.name for file in export.iterdir()) == [f"{k:06d}.png" for k in range(23)]
    code, output = run("--mode=sample", *asked)
    assert code == 2
    assert output == f"Error: export = {export} already exists; name another\n"

    code, output = run(
        "--mode=sample", "--num_samples=4", "--label=7", "--num_steps=3", "--truncation=0.9",
        "--seed=5", "--trajectory",
    )  # fmt: skip
    assert code == 0, output
    name = "step000020-seed5-num_samples4-num_steps3-temperature1-truncation0.9-label7"
    for end in ("", "-trajectory"):
        assert Image.open(workdir / "samples" / f"{name}{end}.png").size[0] > 50

    again = workdir.rename(tmp_path / "elsewhere")
    image = again / "samples" / f"{name}.png"
    drawn = image.read_bytes()
    image.unlink()
    asked = ("--num_samples=4", "--label=7", "--num_steps=3", "--truncation=0.9", "--seed=5")
    code, output = run("--mode=sample", *asked, config=None, workdir=again)
    assert code == 0, output
    assert image.read_bytes() == drawn
    again.rename(workdir)

    code, output = run("--config.denoiser.width=8")
    assert code == 2
    assert "denoiser.width = 16 there, 8 now" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on_exactly(start, run, tmp_path, never_stopped):
    options = (*LONG, f"--config.train.checkpoint_every={LONG_STEPS}")
    process = start(*options)
    wait_until((tmp_path / "run" / "metrics.jsonl").exists, process)
    wait_until(lambda: reported_steps(tmp_path / "run"), process)
    process.send_signal(signal.SIGTERM)
    output = process.finish(60)
    assert process.returncode == 0, output
    assert "Saved step" in output
    assert "Traceback" not in output
    code, output = run(*options)
    assert code == 0, output
    assert "Going on from step" in output
    assert_same(final_state(tmp_path / "run"), never_stopped)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 1.5])
def test_sigterm_before_training_ends_at_once(start, seconds):
    process = start()
    time.sleep(seconds)  # while it builds or compiles
    process.send_signal(signal.SIGTERM)
    output = process.finish(60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert output.splitlines()[-1] == "Ended by SIGTERM; there was nothing to save"
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_with_its_step_named(run, tmp_path):
    grows = ("--config.optimizer.lr=100", "--config.optimizer.weight_decay=100")  # by 1e4 a step
    code, output = run(*TINY, *grows, "--config.train.checkpoint_every=1")
    assert code == 1, output
    assert "not finite at step" in output.splitlines()[-1]
    assert "optimizer.lr" in output.splitlines()[-1]
    assert "Traceback" not in output
    step = int(output.splitlines()[-1].split("at step ")[1].split(";")[0])
    kept = [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()]
    assert max(kept, default=0) == step - 1


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint(run, tmp_path):
    options = (*TINY, "--config.optimizer.decay=constant")
    code, output = run(*options, "--config.train.num_steps=4")
    assert code == 0, output
    before = final_state(tmp_path / "run")

    code, output = run(*options, "--config.train.num_steps=8", limits={"RLIMIT_FSIZE": 6000})
    assert code == 1, output
    assert output.splitlines()[-1].startswith("Error: Checkpoints cannot be written to")
    assert "Traceback" not in output  # nor what Orbax's threads have to say
    assert "RuntimeWarning" not in output
    after = final_state(tmp_path / "run")
    assert_same(after, before)
    code, output = run(*options, "--config.train.num_steps=8")
    assert code == 0, output
    assert "Going on from step 4" in output


def test_a_file_in_place_of_the_workdir_is_named(run, tmp_path):
    (tmp_path / "run").write_text("in the way")
    for mode in ("train", "sample"):
        code, output = run(f"--mode={mode}")
        assert code == 2
        assert output == f"Error: workdir = {tmp_path}/run is not a folder; give another path\n"


def test_a_folder_that_another_run_writes_to_is_left_alone(run, tmp_path):
    with owning(tmp_path / "run"):
        code, output = run()
        assert code == 1
        assert f"is being written by process {os.getpid()} on host" in output
        assert len(output.splitlines()) == 1
        names = {file.name for file in (tmp_path / "run").iterdir()}
        assert names <= {"lock.json", "error.txt"}


def test_nothing_to_sample_from(run_as_typed, tmp_path):
    code, output = run_as_typed("--mode=sample")
    assert code == 1
    assert output.startswith("Error: there is no checkpoint in")
    assert len(output.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.train.batchsize=3"], "did you mean batch_size?"),
        (["--config.denoiser.compute_dtype=float8"], "denoiser.compute_dtype must be one of"),
        (["--config.loss.mechanism=step", "--config.loss.chains=own"], "loss.chains must be one"),
        (["--mode=sample", "--label=10"], "label = 10 must be in 0..9"),
        (["--workdirectory=x"], "Unknown command line flag 'workdirectory'"),
        (["train"], "there is no argument 'train'"),
        (["--profile=20:10"], "profile = 20:10 must be FIRST:LAST"),
        (["--profile=1:2", "--mode=sample"], "profile is not read by --mode=sample: "),
        (
            ["--export=samples.npz"],
            "export is not read by --mode=train: it is for",
        ),
        (["--workdir=runs/[a]"], "has '[', ']' in its path"),
        (["--workdir=gs://bucket/run", "--mode=sample"], "workdir = gs://bucket/run is not a path"),
        (["--mode=sample", "--label=three"], "--label=three must be a non-negative integer"),
    ],
)
def test_mistyped_commands_end_with_one_sentence(run, arguments, message):
    code, output = run(*arguments)
    assert code == 2
    assert message in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "no configuration is given; add --config=FILE, such as --config=configs/"),
        ("configs/none.py", "none.py"),
        (f"{SMOKE}r", '":smoker"'),
    ],
)
def test_a_configuration_that_is_not_there(run, config, message):
    code, output = run(config=config)
    assert code == 2
    assert message in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config.train.num_stpes = 30", "train.num_stpes is not a key: did you mean num_steps?"),
        ("config.evla = {}", "there is no section evla: did you mean eval?"),
        ("del config.mesh", "the section mesh is missing"),
        ("del config.eval.seed", "eval.seed is missing"),
        ("config.codec.name = 'vqgan'", 'codec.name = "vqgan" is not a codec of the digits'),
    ],
)
def test_a_configuration_of_ones_own_that_cannot_work_is_named(run, tmp_path, line, message):
    path = tmp_path / "mine.py"
    path.write_text(
        "from configs import digits_vanilla\n\n"
        f"def get_config(arg=''):\n    config = digits_vanilla.get_config('smoke')\n    {line}\n"
        "    return config\n"
    )
    code, output = run(config=str(path))
    assert code == 2
    assert message in output
    assert len(output.splitlines()) == 1


def test_every_flag_is_explained():
    ours = {flag.name for flag in FLAGS.flags_by_module_dict()["cdcd_jax.cli.flags"]}
    assert {"workdir", "mode", "num_samples", "label", "num_steps", "truncation"} <= ours
    assert all(FLAGS[name].help for name in ours)
