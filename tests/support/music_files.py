"""Checkpoints of music with every name of the published ones, at small sizes."""

import gzip
import json
import math
from pathlib import Path

import numpy as np

from tests.support.published_files import KEYS as IMAGE_KEYS

MUSIC_KEYS = json.loads(
    gzip.decompress(Path(__file__).with_name("music_keys.json.gz").read_bytes())
)
KEYS = {name: keys for name, keys in IMAGE_KEYS.items() if name.startswith("aist")} | MUSIC_KEYS
"""The names, with shapes and dtypes, that modules of the published code have."""

NAMES = ("aist", "tiktok")

SIZES = {
    1024: 16, 2048: 32, 2049: 33, 4096: 64,  # the denoiser's; 2048 codes, and two a width
    3328: 16 + 7 + 2, 3072: 16 + 7, 256: 2,  # motion, video and genre
    1033: 5, 344: 5, 80: 4, 81: 5, 100: 4, 101: 5,  # tokens and steps
    800: 50, 786: 36, 219: 6, 75: 6, 360: 12, 60: 12, 512: 4,  # the motion encoder's
}  # fmt: skip
"""Sizes outside the codec and what becomes of them."""

CODEC_SIZES = {64: 4, 32: 2, 2048: 32}

SMALL = {"vocab_size": 32, "num_steps": 4, "num_layers": 19, "width": 16, "cond_dim": 16,
         "grid": (1, 5), "condition": "cross", "mlp": "linear", "mlp_ratio": 4,
         "num_classes": None}  # fmt: skip
"""The denoiser's options at those sizes."""


def make_music_entries(name: str, num_layers: int = 19) -> dict[str, dict[str, np.ndarray]]:
    """Make the entries ``model`` and ``ema`` of a checkpoint, which differ where both have it."""
    shapes = {
        key: described
        for key, described in KEYS[f"{name}.yaml model"].items()
        if ".blocks." not in key or int(key.split(".")[3]) < num_layers
    }
    model = {key: draw(key, *described, seed=1) for key, described in shapes.items()}
    codec = {key: array for key, array in model.items() if key.startswith("vqvae.")}
    model |= {f"transformer.{key}": array for key, array in codec.items()}
    averaged = {
        key: draw(key, *shapes[f"transformer.{key}"], seed=2)
        for key in KEYS[f"{name}.yaml ema"]
        if f"transformer.{key}" in shapes
    }
    return {"model": model, "ema": averaged | codec}


def draw(key: str, shape: list[int], dtype: str, *, seed: int) -> np.ndarray:
    """Draw weights that neither drown nor fix what goes through many layers."""
    sizes = CODEC_SIZES if "vqvae." in key else SIZES
    small = [sizes.get(size, size) for size in shape]
    random = np.random.default_rng([seed, len(key), sum(key.encode())])
    scale = 1.0 if key.endswith(("emb.weight", ".k")) else math.prod(small[1:]) ** -0.5
    return (scale * random.normal(size=small)).astype(dtype)
