"""Weights that follow from their names, so that golden files need not hold them."""

import zlib

import numpy as np


def layout_of(data: dict[str, np.ndarray], entry: str = "layout") -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of a PyTorch network from a golden file."""
    lines = [line.split() for line in data[entry].tobytes().decode().splitlines()]
    return {name: tuple(map(int, shape)) for name, *shape in lines}


def procedural_state(layout: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Draw the arrays of a state dict, each from the checksum of its name."""
    return {name: _array(name, shape) for name, shape in layout.items()}


def _array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.array(0)
    if name.startswith("lin"):
        value = rng.uniform(0, 1, shape)
    elif name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif name.endswith(("running_mean", "bias")):
        value = 0.1 * rng.standard_normal(shape)
    elif name.endswith("bn3.weight"):  # the sum over residual blocks must not explode
        value = rng.uniform(0.1, 0.3, shape)
    elif len(shape) == 1:
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return value.astype(np.float32)
