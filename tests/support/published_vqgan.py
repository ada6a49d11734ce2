"""The published codecs whose numbers are at hand, as options of ours, and their weights."""

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.interop.vqgan import vqgan_from_state_dict, vqgan_to_state_dict
from tests.support.published_denoiser import ProceduralWeights, template

F16: dict = {"image_size": 256}
F8 = F16 | {"multipliers": (1, 1, 2, 4), "attention_resolutions": (32,), "num_codes": 8192,
            "quantizer": "gumbel"}  # fmt: skip
TINY = {"channels": 32, "num_res_blocks": 1, "attention_resolutions": (4,), "latent_dim": 16,
        "code_dim": 16}  # fmt: skip
GOLDEN = {
    "vq_f16": TINY | {"image_size": 64, "multipliers": (1,) * 5, "num_codes": 96},
    "gumbel_f8": TINY | {"image_size": 32, "multipliers": (1, 2, 1, 1), "num_codes": 64,
                         "quantizer": "gumbel"},
}  # fmt: skip
PROCEDURAL = {"vq": (F16, 881), "gumbel": (F8, 880)}


def names_and_shapes(vqgan):
    """Return the shapes of a codec's arrays by their published names."""
    shapes = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), template(vqgan))
    return {name: array.shape for name, array in vqgan_to_state_dict(shapes).items()}


def load_golden(data, options):
    """Build the codec of a golden file, with the weights that are in it."""
    vqgan = make_vqgan(**options)
    state = {key.removeprefix("sd/"): data[key] for key in data if key.startswith("sd/")}
    return vqgan, jax.tree.map(jnp.asarray, vqgan_from_state_dict(state, template(vqgan)))


def load_procedural(options, base):
    """Build a codec with weights drawn from a seed, which compiles nothing."""
    vqgan = make_vqgan(**options)
    state = ProceduralWeights(names_and_shapes(vqgan), base)
    return vqgan, jax.tree.map(jnp.asarray, vqgan_from_state_dict(state, template(vqgan)))
