"""Trainings of each kind that are small enough to be started often: toy, diffusion, codec."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from cdcd_jax.codecs.discriminator import Discriminator
from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.conditioning.condition import class_condition
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.diffusion.timesteps import init_timestep_stats
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.training.codec_objective import (
    init_codec_training,
    make_codec_objective,
    with_codes,
)
from cdcd_jax.training.generation import make_bound_fn, make_sample_fn
from cdcd_jax.training.model import make_model
from cdcd_jax.training.objective import make_objective
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import init_state
from cdcd_jax.training.step import make_train_step
from tests.support.toy_run import CountingBatches, make_run


class SmallRun(NamedTuple):
    """What is trained, and what readers do with it.

    Attributes:
        init_state: Builds the state before the first step.
        train_step: One update.
        draw_batch: ``draw_batch(position)``, all rows of a batch.
        look: ``look(state)``, what sampling and evaluating give; arrays.
    """

    init_state: Callable[[], Any]
    train_step: Any
    draw_batch: Callable[[int], dict[str, np.ndarray]]
    inspect: Callable[[Any], list[Any]]


def make_toy():
    fresh, step = make_run()
    batches = CountingBatches()

    def draw_batch(position):
        batches.position = position
        return next(batches)

    return SmallRun(fresh, step, draw_batch, lambda state: [state.params["w"]])


def make_diffusion():
    vocab, num_steps, grid, classes = 5, 4, (2, 2), 3
    schedule = mask_replace_schedule(num_steps=num_steps, vocab_size=vocab)
    network = make_denoiser(
        vocab_size=vocab,
        num_steps=num_steps,
        grid=grid,
        num_layers=1,
        width=8,
        num_heads=2,
        condition="class",
        num_classes=classes,
    )
    model = make_model(network, class_condition(classes))
    objective = make_objective(schedule, model, grid=grid)
    optimizer = _optimizer()
    labels = jnp.arange(classes, dtype=jnp.int32)
    sample_fn = make_sample_fn(schedule, model, length=4)
    bound_fn = make_bound_fn(schedule, model)

    def fresh():
        return init_state(jax.random.key(0), model.init, optimizer, init_timestep_stats(num_steps))

    def draw_batch(position):
        rng = np.random.default_rng(position)
        cond = rng.integers(0, classes, 8).astype(np.int32)
        tokens = (cond[:, None] + rng.integers(0, 2, (8, 4))).astype(np.int32)
        return {"tokens": tokens, "cond": cond}

    def inspect(state):
        params, key = state.ema_params, jax.random.key(1)
        options = {"num_steps": 2, "truncation": 0.9, "top_k": None, "temperature": 1.0}
        drawn = sample_fn(params, key, labels, **options)
        return [drawn, bound_fn(params, key, np.asarray(drawn), labels)]

    return SmallRun(fresh, make_train_step(objective, optimizer), draw_batch, inspect)


def make_codec():
    """Return a VQGAN's training, with codebook and all, whose networks are a matrix each."""
    published = make_vqgan(
        image_size=8,
        channels=4,
        multipliers=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(),
        latent_dim=2,
        code_dim=2,
        num_codes=4,
    )

    def init(key):
        quantizer = {"codebook": jax.random.normal(key, (4, 2))}
        kernels = 0.1 * jax.random.normal(key, (2, 12, 2))
        decoder = {"last": {"kernel": kernels[1].T}}
        return {"encoder": {"kernel": kernels[0]}, "decoder": decoder, "quantizer": quantizer}

    def encode(params, images):
        patches = images.reshape(-1, 4, 2, 4, 2, 3).swapaxes(2, 3).reshape(-1, 4, 4, 12)
        return patches @ params["encoder"]["kernel"]

    def project(params, codes):
        patches = (codes @ params["decoder"]["last"]["kernel"]).reshape(-1, 4, 4, 2, 2, 3)
        return patches.swapaxes(2, 3).reshape(-1, 8, 8, 3)

    vqgan = published._replace(
        init=init,
        encode=encode,
        decode_hidden=lambda params, codes: codes,
        project=project,
        decode=project,
    )
    critic = Discriminator(init=lambda key: {}, apply=lambda params, images: images)
    init_params, init_stats = init_codec_training(vqgan, critic)
    objective = make_codec_objective(vqgan, critic, _mean_distance, discriminator_weight=0.0)
    optimizer = _optimizer()

    def fresh():
        keys = jax.random.split(jax.random.key(0))
        return init_state(keys[0], init_params, optimizer, init_stats(keys[1]))

    def draw_batch(position):
        rng = np.random.default_rng(position)
        return {"images": rng.integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)}

    @jax.jit
    def reconstruct(params, codebook, images):
        complete = with_codes(params["generator"], codebook)
        indices = vqgan.indices(complete, vqgan.encode(complete, images))
        return vqgan.decode(complete, vqgan.lookup(complete, indices))

    def inspect(state):
        images = draw_batch(0)["images"].astype(np.float32) / 127.5 - 1
        return [reconstruct(state.params, state.stats, images)]

    return SmallRun(fresh, make_train_step(objective, optimizer), draw_batch, inspect)


def _mean_distance(images, others):
    return jnp.mean((images - others) ** 2, axis=(1, 2, 3))


MAKERS = {"toy": make_toy, "diffusion": make_diffusion, "codec": make_codec}


def _optimizer():
    return make_optimizer(lr=0.01, num_steps=20, warmup_steps=2, decay="constant")


def name_arrays(state):
    """Return all arrays of a state by name, whole on each host; all hosts call it together."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        arrays[jax.tree_util.keystr(path)] = np.asarray(
            multihost_utils.process_allgather(leaf, tiled=True)
        )
    return arrays


def digest(arrays):
    """Return a digest of every bit of named arrays."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]
