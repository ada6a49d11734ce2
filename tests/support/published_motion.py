"""The published motion encoders, and the weights that golden files at their sizes go with."""

import zlib

import jax
import numpy as np

from cdcd_jax.interop.motion import motion_to_reference

REAL = {
    "aist2s": {"num_features": 219, "frames": 120},
    "tiktok": {"num_features": 75, "frames": 60, "channels": (256, 512, 1024)},
}


def template(network):
    """Return the shapes of parameters."""
    return jax.eval_shape(network.init, jax.random.key(0))


def draw_params(network, seed: int = 0):
    """Draw parameters without compiling what draws them."""
    random = np.random.default_rng(seed)

    def draw(leaf):
        return (random.normal(size=leaf.shape) / np.sqrt(leaf.shape[0])).astype(np.float32)

    return jax.tree.map(draw, template(network))


def draw_named(key: str, shape: tuple[int, ...], base: int) -> np.ndarray:
    """Draw an array from a seed that is a hash of its name."""
    random = np.random.RandomState((zlib.crc32(key.encode()) + base) % 2**32)
    x = random.standard_normal(shape)
    if key.endswith("weight_g"):
        x = np.abs(1 + 0.1 * x)
    elif len(shape) <= 1:
        x = 0.1 * x if key.endswith("bias") else 1 + 0.1 * x
    else:
        x = x / np.sqrt(np.prod(shape[1:]))
    return x.astype(np.float32)


def draw_motion_weights(encoder, base: int) -> dict[str, np.ndarray]:
    """Draw all arrays of a motion encoder by the published names."""
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), template(encoder))
    shapes = {key: array.shape for key, array in motion_to_reference(empty).items()}
    return {key: draw_named(key, shape, base) for key, shape in shapes.items()}
