"""Two hosts of four devices draw, measure and score what one of eight does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_shared_rows import assert_scores_agree

HERE = Path(__file__).parent


def run_hosts(folder, num_hosts, num_devices):
    folder.mkdir()
    with socket.create_server(("", 0)) as server:
        coordinator = f"localhost:{server.getsockname()[1]}"
    given = dict(
        os.environ,
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=f"--xla_force_host_platform_device_count={num_devices}",
        PYTHONPATH=os.pathsep.join([str(HERE.parent.parent), str(HERE)]),
    )
    command = [sys.executable, str(HERE / "score_on_hosts.py"), str(folder)]
    hosts = []
    for index in range(num_hosts):
        place = [f"--coordinator={coordinator}", f"--num_hosts={num_hosts}"]
        place = [] if num_hosts == 1 else [*place, f"--host_index={index}"]
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
    (alone,) = run_hosts(tmp_path / "one", 1, 8)
    first, second = run_hosts(tmp_path / "two", 2, 4)
    assert alone["devices"] == first["devices"] == 8
    assert alone.pop("files") == first.pop("files") == second.pop("files") == ["kept0.npz"]
    assert first == second
    assert_scores_agree(first, alone)
