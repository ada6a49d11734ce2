"""Two hosts of four devices draw, measure and score what one of eight does."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from test_shared_rows import assert_scores_agree

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.distributed.partition import shard_params
from tests.support.hosts import environment
from tests.support.small_model import make_small_model, random_params, score_on

SUPPORT = Path(__file__).parents[1] / "support"


def run_hosts(folder, num_hosts, num_devices):
    folder.mkdir()
    with socket.create_server(("", 0)) as server:
        coordinator = f"localhost:{server.getsockname()[1]}"
    command = [sys.executable, str(SUPPORT / "score_on_hosts.py"), str(folder)]
    given, hosts = environment(num_devices), []
    for index in range(num_hosts):
        place = [f"--coordinator={coordinator}", f"--num_hosts={num_hosts}"]
        place.append(f"--host_index={index}")
        hosts.append(subprocess.Popen([*command, *place], env=given, stderr=subprocess.PIPE))
    try:
        for host in hosts:
            _, complaints = host.communicate(timeout=300)
            assert host.returncode == 0, complaints.decode()[-2000:]
    finally:
        for host in hosts:
            host.kill()
            host.wait()
    return [json.loads((folder / f"host{index}.json").read_text()) for index in range(num_hosts)]


@pytest.mark.slow
def test_two_hosts_find_what_one_does(tmp_path):
    first, second = run_hosts(tmp_path / "two", 2, 4)
    # Each knows all, and the file that only one may write was written by that one.
    assert first == second
    assert first.pop("devices") == 8
    assert first.pop("files") == ["kept0.npz"]
    mesh, params = make_mesh(fsdp=2), random_params(make_small_model())
    alone = score_on(mesh, jax.device_put(params, shard_params(params, mesh)))
    assert_scores_agree(first, alone)
