"""A real experiment takes the same steps on two hosts of four devices and on one of eight."""

from pathlib import Path

import jax
import numpy as np
import pytest
from hosts import Hosts
from test_devices import train_on

PROGRAM = Path(__file__).parent / "digits_host.py"
SIZES = {"fsdp": 2, "tensor": 2}


@pytest.mark.slow
@pytest.mark.quick_compilation
def test_two_hosts_of_four_devices_are_one_of_eight(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # as in this process
    file = tmp_path / "found.npz"
    flags = [f"--{name}={size}" for name, size in SIZES.items()]
    with Hosts([PROGRAM, file, *flags], tmp_path, num_devices=4) as hosts:
        losses, params = train_on(jax.devices()[:8], **SIZES)
        codes = hosts.wait(400)
        assert set(codes.values()) == {0}, hosts.outputs()
    with np.load(file) as found:
        assert len(found["losses"]) == 20
        np.testing.assert_allclose(found["losses"], losses, rtol=1e-5)
        for name, value in params.items():
            # A softmax does not feel a bias of its keys: its gradient is rounding alone.
            atol = 1e-5 * np.abs(value).max() + 1e-6 * name.endswith("key.bias")
            np.testing.assert_allclose(found[name], value, rtol=0, atol=atol, err_msg=name)
