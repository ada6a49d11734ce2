"""Jukebox codecs as the golden files have them."""

import zlib

import jax
import numpy as np

from cdcd_jax.codecs.jukebox import Jukebox, make_jukebox
from cdcd_jax.interop.jukebox import jukebox_from_state_dict, jukebox_to_state_dict
from cdcd_jax.typing import Params

PUBLISHED = {}
"""The codec of the dance-to-music models, and OpenAI's, is the default one."""

GOLDEN = {
    "mult2_1lvl": {
        "downs": (1,), "strides": (2,), "multipliers": (2,), "code_dim": 12, "num_codes": 32
    },
    "small_3lvl": {
        "downs": (2, 1, 1), "strides": (2, 2, 2), "multipliers": (1, 1, 1), "code_dim": 16,
        "num_codes": 64,
    },
    "real_procedural": PUBLISHED,
}  # fmt: skip
SEED = 602
"""Of the weights that ``real_procedural`` does not store."""


def template(jukebox: Jukebox) -> Params:
    """Return the layout of the parameters, without drawing any."""
    return jax.eval_shape(jukebox.init, jax.random.key(0))


def names_and_shapes(jukebox: Jukebox) -> dict[str, tuple[int, ...]]:
    """Return what a state dict of this codec holds."""
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), template(jukebox))
    return {name: array.shape for name, array in jukebox_to_state_dict(empty).items()}


def load_golden_jukebox(case: str, arrays: dict[str, np.ndarray]) -> tuple[Jukebox, Params]:
    """Build the codec of a golden file with its weights, drawn by their names or stored."""
    jukebox = make_jukebox(**GOLDEN[case])
    state = {key.removeprefix("sd/"): arrays[key] for key in arrays if key.startswith("sd/")}
    if case.endswith("procedural"):
        drawn = {key: _draw(key, shape) for key, shape in names_and_shapes(jukebox).items()}
        state = drawn | state
    return jukebox, jukebox_from_state_dict(state, template(jukebox))


def _draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.RandomState((zlib.crc32(key.encode()) + SEED) % 2**32)
    x = random.standard_normal(shape)
    return np.float32(0.1 * x if key.endswith("bias") else x / np.sqrt(np.prod(shape[1:])))
