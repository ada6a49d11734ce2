"""A small model of digits, built from its configuration."""

import importlib

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.model_folder import save_model
from cdcd_jax.training.exported import WEIGHTS, WEIGHTS_FORMAT


def build_small_digits(folder, *, total=4, num_steps=2):
    """Return the configuration of a model of T = ``total``, and what is built from it."""
    config = importlib.import_module("configs.digits_vanilla").get_config("smoke")
    changes = {"denoiser.num_layers": 1, "denoiser.width": 16, "schedule.num_steps": total}
    config.update_from_flattened_dict(changes)
    config.eval.num_steps, config.sample.num_steps = (2,), num_steps
    return config, build(config.lock(), folder, mesh=make_mesh(jax.devices()[:1]))


def save_small_digits(folder):
    """Write such a model with fresh weights; return what was built, and the weights."""
    config, built = build_small_digits(folder)
    save_model(built, config, folder)
    params = built.model.init(jax.random.key(1))
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(params).items()}
    write_arrays(folder / "model" / WEIGHTS, arrays, {"format": WEIGHTS_FORMAT})
    return built, params
