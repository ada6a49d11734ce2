"""The published denoisers whose numbers are at hand, as options of ours, and their weights."""

import zlib
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.models import make_denoiser

TINY = {"vocab_size": 31, "num_steps": 20, "grid": (4, 4), "num_layers": 2, "width": 32,
        "num_heads": 4, "mlp_ratio": 2}  # fmt: skip

GOLDEN = {
    "text2img_fc": TINY | {"width": 48, "mlp_ratio": 4, "condition": "cross", "cond_dim": 24},
    "text2img_conv": TINY | {"mlp": "conv", "condition": "cross", "cond_dim": 24},
    "text2img_fc_abs_gelu": TINY
    | {"condition": "cross", "cond_dim": 24, "timestep": "sinusoidal", "activation": "gelu"},
    "music_fc": TINY
    | {"grid": (1, 19), "width": 48, "mlp_ratio": 4, "condition": "cross", "cond_dim": 32},
    "class2img_fc": TINY | {"mlp_ratio": 4, "condition": "class", "num_classes": 11},
    "class2img_conv": TINY
    | {"mlp": "conv", "condition": "class", "num_classes": 11, "embedding_grid": (8, 8)},
    "class2img_adains": TINY
    | {"num_layers": 1, "condition": "class", "num_classes": 11, "class_norm": "instance"},
    "uncond_conv": TINY | {"mlp": "conv"},
}

AIST = {"vocab_size": 2048, "num_steps": 80, "grid": (1, 1033), "num_layers": 19, "width": 1024,
        "num_heads": 16, "condition": "cross", "cond_dim": 1024}  # fmt: skip
COCO = {"vocab_size": 2887, "num_steps": 80, "grid": (32, 32), "num_layers": 18, "width": 192,
        "num_heads": 16, "mlp": "conv", "mlp_ratio": 2, "condition": "cross",
        "cond_dim": 512}  # fmt: skip
PUBLISHED = {
    "aist": AIST,
    "tiktok": AIST | {"num_steps": 100, "grid": (1, 344)},
    "coco": COCO,
    "cub200": COCO,
    "imagenet": COCO
    | {"vocab_size": 974, "grid": (16, 16), "embedding_grid": (32, 32), "num_layers": 24,
       "width": 512, "mlp_ratio": 4, "condition": "class", "cond_dim": None,
       "num_classes": 1000},
}  # fmt: skip


def template(network):
    """Return the shapes of a network's parameters."""
    return jax.eval_shape(network.init, jax.random.key(0))


def load(data, options, **more):
    """Build the network of a golden file, with its weights and its condition."""
    network = make_denoiser(**options, **more)
    state = {key.removeprefix("sd/"): data[key] for key in data if key.startswith("sd/")}
    params = denoiser_from_reference(state, template(network))
    cond = {"cross": data.get("cond_emb"), "class": data.get("class_id")}.get(
        options.get("condition")
    )
    return network, *jax.tree.map(jnp.asarray, (params, cond))


class ProceduralWeights(Mapping):
    """Weights drawn from a seed that is a hash of their name, when they are requested."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], base: int):
        self.shapes, self.base = shapes, base

    def __getitem__(self, key: str) -> np.ndarray:
        shape = self.shapes[key]
        random = np.random.RandomState((zlib.crc32(key.encode()) + self.base) % 2**32)
        x = random.standard_normal(shape)
        if len(shape) <= 1:
            x = 0.1 * x if key.endswith("bias") else 1 + 0.1 * x
        else:
            x = x / np.sqrt(np.prod(shape[1:]))
        return x.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)
