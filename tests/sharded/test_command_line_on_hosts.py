"""The command line on two hosts, from images to samples: as one host of as many devices."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.codecs.patches import load_patches
from tests.support.hosts import environment, free_port

CONFIG = "configs/glyphs_vanilla.py:smoke"
DIGITS = "configs/digits_sample_inter.py:smoke"
SMALL = (
    "--config.codec.num_codes=16",
    "--config.condition.width=8",
    "--config.condition.num_heads=2",
    "--config.condition.num_layers=1",
    "--config.data.scripts=('digit',)",
    "--config.data.num_variants=1",
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.denoiser.num_heads=2",
    "--config.optimizer.warmup_steps=1",
    "--config.prepare.shard_size=50",
    "--config.schedule.num_steps=4",
    "--config.train.batch_size=8",
    "--config.train.num_steps=4",
    "--config.train.log_every=1",
    "--config.train.sample_every=0",
    "--config.eval.batch_size=4",
    "--config.eval.num_samples=4",
    "--config.eval.num_real=20",
    "--config.eval.num_steps=(2,)",
    "--config.sample.num_steps=2",
    "--config.sample.num_samples=4",
    "--config.mesh.fsdp=2",
)


class Host(NamedTuple):
    """One process of a command on several hosts, and what it says."""

    command: Any
    out: Path
    err: Path

    def said(self):
        self.command.wait(300)
        return self.out.read_text(), self.err.read_text()


@pytest.fixture
def start(fork_server, tmp_path_factory):
    """Start the command on so many hosts, each with its part of two devices."""
    compiled = tmp_path_factory.mktemp("compiled")
    commands = []

    def start(workdir, *arguments, config=CONFIG, own=((), ())):
        num_hosts, port, hosts = len(own), free_port(), []
        given = environment(2 // num_hosts, compiled)
        for index in range(num_hosts):
            place = [f"--coordinator=localhost:{port}", f"--num_hosts={num_hosts}"]
            place = [*place, f"--host_index={index}"] if num_hosts > 1 else []
            log = workdir.with_name(f"{workdir.name}-{len(commands)}")
            files = {"stdout": log.with_suffix(".out"), "stderr": log.with_suffix(".err")}
            flags = [f"--config={config}", f"--workdir={workdir}", *arguments, *own[index], *place]
            commands.append(fork_server.popen(flags, env=given, **files))
            hosts.append(Host(commands[-1], *files.values()))
        return hosts

    yield start
    for command in commands:
        command.kill()


@pytest.fixture
def run(start):
    """Run the command to its end, which must be a good one; return what each host says."""

    def run(workdir, num_hosts, *arguments):
        hosts = start(workdir, *SMALL, *arguments, own=((),) * num_hosts)
        said = [host.said() for host in hosts]
        assert [host.command.returncode for host in hosts] == [0] * num_hosts, said
        return said

    return run


def spoken(output):
    """Return the lines of an output, less what the transport between CPUs says of itself."""
    return [line for line in output.splitlines() if not line.startswith("[Gloo]")]


def read(workdir, *names):
    return json.loads(Path(workdir, *names).read_text())


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {name: [line[name] for line in lines] for name in lines[0]}


def files_in(folder):
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    # Of checkpoints each host writes its own part, under names of its own.
    return {file for file in files if "checkpoints" not in file and "tensorboard" not in file}


@pytest.mark.slow
def test_from_images_to_samples_two_hosts_do_what_one_does(run, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    (said, bars), (said_by_other, bars_of_other) = run(two, 2)
    ((said_alone, _),) = run(one, 1)
    # One host speaks, and says no more than it would alone.
    assert spoken(said_by_other) == []
    assert "train:" in bars
    assert "it/s" not in bars_of_other
    assert "train:" not in bars_of_other
    for line in ("There is no codec", "There are no tokens", "Trained 4 steps", "Summary:"):
        assert said.count(line) == said_alone.count(line)
    assert "2 devices of 2 hosts (data 1 x fsdp 2 x tensor 1)" in said

    ours, theirs = (load_patches(folder / "codec" / "codec.safetensors") for folder in (two, one))
    assert ours.fingerprint == theirs.fingerprint
    for file in (one / "tokens").rglob("*.arrayrecord"):
        assert file.read_bytes() == (two / file.relative_to(one)).read_bytes()
    ours, theirs = metrics(two), metrics(one)
    assert ours["step"] == theirs["step"] == [1, 2, 3, 4]
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, err_msg=name)
    ours, theirs = read(two, "summary.json"), read(one, "summary.json")
    for name, value in theirs.items():
        if isinstance(value, float) and name != "train_seconds":
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)

    assert files_in(two) == files_in(one)
    # What is drawn of the checkpoint is what was drawn after training.
    said, said_by_other = (said for said, _ in run(two, 2, "--mode=sample"))
    assert spoken(said_by_other) == []
    assert said.count("Samples:") == 1
    (drawn,) = (two / "samples").glob("*.png")
    for image in (two / "samples.png", drawn):
        ours, theirs = Image.open(image), Image.open(one / "samples.png")
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.slow
def test_hosts_that_fail_alike_all_say_why(start, tmp_path):
    """Host 0 fails first, and its end would end the other."""
    slow, absent = tmp_path / "slow", tmp_path / "absent"
    slow.write_bytes(b"a\n" * 10**6 + b"\xff\n")  # whose last line is found after a while
    own = ((f"--prompt_file={absent}",), (f"--prompt_file={slow}",))
    first, other = start(tmp_path / "run", "--mode=sample", config=DIGITS, own=own)
    (_, first_words), (_, other_words) = first.said(), other.said()
    assert (first.command.returncode, other.command.returncode) == (2, 2), other_words
    assert f"{absent} cannot be read" in first_words
    assert f"Error on host 1: prompt_file = {slow}: line 1000001" in other_words
    assert "stack trace" not in other_words
