"""A real experiment takes the same steps on one device and on eight, of one host or of two."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.support.digits_host import train_on
from tests.support.hosts import Hosts

PROGRAM = Path(__file__).parents[1] / "support" / "digits_host.py"
BOTH = {"fsdp": 2, "tensor": 2}
MESHES = ({"data": 8}, {"fsdp": 8}, BOTH)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("digits on devices"),  # which is compiled for a mesh once
]


def test_eight_devices_are_one_over_twenty_steps():
    alone = train_here(1)
    for sizes in MESHES:
        assert_equal(train_here(8, **sizes), alone, str(sizes))


def test_two_hosts_of_four_devices_are_one_of_eight(tmp_path):
    file = tmp_path / "found.npz"
    flags = [f"--{name}={size}" for name, size in BOTH.items()]
    alone = train_here(8, **BOTH)  # before: hosts that compile on busy cores miss each other
    with Hosts([PROGRAM, file, *flags], tmp_path, num_devices=4) as hosts:
        codes = hosts.wait(400)
        assert set(codes.values()) == {0}, hosts.outputs()
    with np.load(file) as found:
        assert len(found["losses"]) == 20
        assert_equal((found["losses"], found), alone, "two hosts")


def assert_equal(found, expected, where):
    (found_losses, found_params), (losses, params) = found, expected
    np.testing.assert_allclose(found_losses, losses, rtol=1e-5, err_msg=where)
    for name, value in params.items():
        # A softmax does not feel a bias of its keys: its gradient is rounding alone.
        atol = 1e-5 * np.abs(value).max() + 1e-6 * name.endswith("key.bias")
        np.testing.assert_allclose(
            found_params[name], value, rtol=0, atol=atol, err_msg=f"{where} {name}"
        )


@functools.cache
def train_here(num_devices, **sizes):
    return train_on(jax.devices()[:num_devices], **sizes)
