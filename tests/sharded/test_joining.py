"""Which host this is follows from flags or a scheduler's variables; alone, nothing happens."""

import os

import jax
import pytest
from jax._src import cloud_tpu_init

from cdcd_jax.distributed import hosts
from cdcd_jax.distributed.handshake import TOKEN
from cdcd_jax.distributed.hosts import Place, explain_loss, find_place, join_hosts

SLURM = {
    "SLURM_JOB_ID": "4096",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "node[007-008]",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_GPUS_ON_NODE": "4",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    for name in (*SLURM, *OPEN_MPI, "JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_a_single_process_does_not_join(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: pytest.fail("joined"))
    assert join_hosts() is False
    assert join_hosts(num_hosts=1) is False
    assert join_hosts("localhost:1234", 1, 0) is False


def test_jax_listens_where_the_hosts_met_and_the_secret_is_gone(monkeypatch):
    given = {}
    monkeypatch.setattr(hosts, "meet_hosts", lambda *place, timeout, token: f"10.0.0.7:1 {token}")
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **options: given.update(options))
    monkeypatch.setattr(hosts, "watch_hosts", lambda **timeouts: None)
    monkeypatch.setenv(TOKEN, "sixteen or more characters")
    assert join_hosts("node7:1", 2, 0) is True
    assert given["coordinator_bind_address"] == "10.0.0.7:1 b'sixteen or more characters'"
    assert TOKEN not in os.environ


def test_hosts_on_a_network_are_refused_without_a_secret(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(ValueError, match="node7 need a shared secret"):
        join_hosts("node7:1", 2, 0)


def test_a_step_of_slurm_with_a_task_a_node_has_all_its_devices(monkeypatch):
    set_all(monkeypatch, SLURM)
    assert find_place(None, None, None) == Place("node007:61440", 2, 1, [0, 1, 2, 3])


def test_a_step_of_slurm_with_a_task_a_device_has_its_own(monkeypatch):
    set_all(monkeypatch, SLURM | {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"})
    monkeypatch.setenv("SLURM_PROCID", "7")
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert find_place(None, None, None) == Place("node007:61440", 8, 7, [3])


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_JOB_ID": "4096", "SLURM_NTASKS": "4"},  # a shell by salloc, or a batch script
        SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"},  # srun --pty bash
        SLURM | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"},  # salloc's interactive step
        {"OMPI_COMM_WORLD_SIZE": "1"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},  # any pod
    ],
    ids=["salloc", "srun_shell", "interactive_step", "mpirun_one", "pod"],
)
def test_a_scheduler_with_one_process_is_no_reason_to_wait(monkeypatch, environment):
    set_all(monkeypatch, environment)
    assert find_place(None, None, None) is None


@pytest.mark.parametrize("number", ["two", "", "2" * 5000])
def test_a_schedulers_number_that_is_none_is_named(monkeypatch, number):
    set_all(monkeypatch, SLURM | {"SLURM_STEP_NUM_TASKS": number})
    with pytest.raises(ValueError, match=r"SLURM_STEP_NUM_TASKS .* is not a number; give --coord"):
        find_place(None, None, None)


def test_open_mpi_is_detected(monkeypatch):
    set_all(monkeypatch, OPEN_MPI)
    assert find_place(None, None, None) == Place("10.96.0.1:62880", 2, 1, [1])


def test_an_open_mpi_that_does_not_say_where_the_first_is_asks_for_flags(monkeypatch):
    set_all(monkeypatch, {k: v for k, v in OPEN_MPI.items() if "orte" not in k})
    with pytest.raises(ValueError, match=r"does not say where .*give --coordinator=HOST:PORT"):
        find_place(None, None, None)


def test_a_tpu_slice_on_kubernetes_is_detected(monkeypatch):
    monkeypatch.setattr(cloud_tpu_init, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr("jax._src.clusters.cloud_tpu_cluster.running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "1")
    assert find_place(None, None, None) is None
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost,127.0.0.1")
    monkeypatch.setenv("TPU_WORKER_ID", "1")
    monkeypatch.setenv("MEGASCALE_COORDINATOR_ADDRESS", "localhost")
    monkeypatch.setenv("MEGASCALE_SLICE_ID", "0")
    place = find_place(None, None, None)
    assert place is not None
    assert place[:3] == ("localhost:8482", 2, 1)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((None, 2, None), "coordinator, host_index must be given as well"),
        (("localhost:1234", None, 0), "num_hosts must be given as well"),
        (("localhost", 2, 0), "coordinator = localhost has no port"),
        (("localhost:x", 2, 0), "coordinator = localhost:x has no port"),
        (("localhost:1234", 0, 0), "num_hosts = 0 must be from 1 to 999999"),
        (("localhost:1234", 10**30, 0), "must be from 1 to 999999"),
        (("localhost:1:2", 2, 0), "localhost:1:2 is not a name and port of a host"),
        (("http://localhost:1", 2, 0), "is not a name and port of a host"),
        (("local host:1", 2, 0), "is not a name and port of a host"),
        ((1000 * "x" + ":1", 2, 0), r"coordinator = x{60}\.\.\. is not a name"),
        (("localhost:1234", 2, -1), "host_index = -1 is not among 2 hosts"),
        (("localhost:1234", 2, 2), "numbered from 0 to 1"),
    ],
)
def test_mistyped_flags_get_a_sentence(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        join_hosts(*flags)


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(ValueError, match="host_timeout = 0 must be from 1 to 999999"):
        join_hosts(timeout=0)


def test_only_the_loss_of_a_host_is_explained_as_one():
    gone = RuntimeError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [::1]:1")
    assert "another host has gone" in str(explain_loss(gone))
    wrapped = Exception("cannot be saved")
    wrapped.__cause__ = gone
    assert "another host has gone" in str(explain_loss(wrapped))
    assert explain_loss(RuntimeError("RESOURCE_EXHAUSTED: out of memory")) is None
    assert explain_loss(KeyError("gloo")) is None
