"""The frozen networks give what torchvision, pytorch-fid and lpips give with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.interop.inception import inception_from_torch
from cdcd_jax.interop.lpips import lpips_from_torch
from cdcd_jax.interop.torchvision import resnet_from_torch
from cdcd_jax.models.features.inception import make_inception
from cdcd_jax.models.features.lpips import make_lpips
from cdcd_jax.models.features.resnet import make_resnet
from tests.support.procedural import layout_of, procedural_state


def template(network):
    return jax.eval_shape(network.init, jax.random.key(0))


def close(actual, expected, tolerance):
    """Compare with the spread of the expected values as the yardstick."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.std(expected))


def test_inception(golden):
    """Two images of 40 x 56 pixels, so that resizing is part of it."""
    data = golden("features/inception.npz")
    network = make_inception()
    params = inception_from_torch(procedural_state(layout_of(data)), template(network))
    apply = jax.jit(network.apply)
    outputs = apply(params, data["images"] / np.float32(255))
    close(outputs.features, data["features"], 1e-4)
    close(outputs.logits, data["logits"], 1e-4)
    bias = np.broadcast_to(params["fc"]["bias"], outputs.logits.shape)
    close(outputs.unbiased_logits, data["logits"] - bias, 1e-4)


def test_resnet101(golden):
    """An image of 48 x 64 pixels, enlarged and cropped on the way."""
    data = golden("features/resnet101.npz")
    network = make_resnet()
    params = resnet_from_torch(procedural_state(layout_of(data)), template(network))
    logits = jax.jit(network.apply)(params, data["images"] / np.float32(255))
    close(logits, data["logits"], 1e-4)


@pytest.fixture(scope="module")
def lpips():
    network = make_lpips()
    return network, template(network)


def test_lpips_and_its_gradient(golden, lpips):
    data = golden("features/lpips_vgg16.npz")
    network, layout = lpips
    names = layout_of(data) | layout_of(data, "lpips_layout")
    needed = {name: names[name] for name in names if name.startswith(("features.", "lin"))}
    params = lpips_from_torch(procedural_state(needed), layout)
    first, second = (data[name].astype(np.float32) / 127.5 - 1 for name in ("first", "second"))

    @jax.jit
    def measure(params, first, second):
        distance, pull_back = jax.vjp(lambda x: network.apply(params, x, second), first)
        return distance, pull_back(jnp.ones(len(first)))[0]

    distance, gradient = measure(params, first, second)
    np.testing.assert_allclose(distance, data["distance"], rtol=1e-5)
    close(gradient, data["gradient"], 1e-3)
    # Alike images have no distance, and the gradient there is a number.
    distance, gradient = measure(params, second, second)
    np.testing.assert_allclose(distance, 0.0, atol=1e-9)
    assert np.abs(gradient).max() < 1e-3 * np.abs(data["gradient"]).max()
