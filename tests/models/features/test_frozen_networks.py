"""What the frozen networks do beside their published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.models.features.inception import make_inception
from cdcd_jax.models.features.layers import crop_centre, resize_shorter_side
from cdcd_jax.models.features.lpips import make_lpips
from cdcd_jax.models.features.resnet import make_resnet


@pytest.mark.parametrize("make", [make_inception, make_resnet])
def test_bfloat16_is_for_the_convolutions_only(make):
    network = make(compute_dtype="bfloat16")
    params = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    outputs = jax.eval_shape(network.apply, params, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {np.dtype("float32")}
    program = str(jax.make_jaxpr(network.apply)(params, images))
    convolutions = [line for line in program.splitlines() if "= conv_general_dilated" in line]
    assert len(convolutions) > 90
    assert all(":bf16[" in line for line in convolutions)


def test_the_shorter_side_is_resized_and_the_middle_cropped():
    columns = jnp.broadcast_to(jnp.arange(32.0)[None, None, :, None], (1, 16, 32, 3))
    resized = resize_shorter_side(columns, 8)
    assert resized.shape == (1, 8, 16, 3)
    # Averaging over two source pixels to each side: away from the edges a slope stays a slope.
    np.testing.assert_allclose(resized[0, 0, 2:-2, 0], np.arange(16)[2:-2] * 2 + 0.5, rtol=1e-6)
    np.testing.assert_array_equal(crop_centre(columns, 4)[0, 0, :, 0], [14, 15, 16, 17])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"four numbers of at least 1, got \(3, 0, 1, 1\)"):
        make_resnet(blocks=(3, 0, 1, 1))
    lpips = make_lpips()
    images = jnp.zeros((1, 16, 15, 3))
    with pytest.raises(ValueError, match=r"at least 16 pixels a side, got \(1, 16, 15, 3\)"):
        lpips.apply({}, images, images)
