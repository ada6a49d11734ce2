"""Devices that are not there are a sentence."""

import jax
import pytest

from cdcd_jax.distributed.devices import start_devices


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize"), AssertionError()])
def test_devices_that_are_not_there_are_named(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    with pytest.raises(ValueError, match=r"JAX_PLATFORMS = 'abacus': .*set JAX_PLATFORMS=cpu"):
        start_devices()


def test_a_host_that_has_gone_is_no_missing_device(monkeypatch):
    def fail():
        raise RuntimeError("connection closed by peer")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(RuntimeError, match="connection closed"):
        start_devices()
