"""Conditional discrete contrastive diffusion (CDCD) on token sequences, in JAX.

The names listed here, and those that these packages list, are the public API; everything else may
change. A package is imported when it is first used:

- ``samplers``: rules for a reverse step, for ``sample(sampler=...)``.
- ``models``: the denoising transformer as pure functions.
- ``conditioning``: what is generated for, as features: classes, texts, CLIP, dances.
- ``codecs``: images and sound to tokens and back.
- ``data``: examples, shards of tokens and batches of them.
- ``training``: objective, optimizer, step, checkpoints; compiled sampling and bounds.
- ``distributed``: meshes of devices, and which part of each array is where.
- ``evaluation``: bits per token, Frechet distances, beats.
- ``visualization``: grids of images.
- ``interop``: published checkpoints as parameters.

``load`` gives a trained model as a value, a ``Generator``, and ``evaluate`` scores one on arrays.

Example:
    >>> import jax, jax.numpy as jnp, cdcd_jax as cdcd
    >>> schedule = cdcd.mask_replace_schedule(num_steps=10, vocab_size=16)
    >>> z0 = jax.random.randint(jax.random.key(0), (4, 24), 0, 16)
    >>> def denoise_fn(zt, t, cond):
    ...     return jnp.full((*zt.shape, 16), -jnp.log(16.0))
    >>> loss = cdcd.make_loss(schedule, contrast=cdcd.Contrast("step", chains="shared"))
    >>> negatives = cdcd.shuffle_chunks(jax.random.key(1), z0, num_negatives=10)
    >>> terms, _ = loss(jax.random.key(2), denoise_fn, z0, None, negatives=negatives)
    >>> tokens = cdcd.sample(jax.random.key(3), schedule, denoise_fn, None, shape=(2, 24))
"""

import sys as _sys

__version__ = "0.2.0"

if "cdcd_jax.main" in _sys.orig_argv[:4] or "".join(_sys.argv[:1]).endswith("/cdcd"):
    # The command line has an answer to signals before JAX is imported, which takes a second.
    from cdcd_jax.training.stopping import Stopper as _Stopper

    _Stopper()

from cdcd_jax.checks import checked as checked
from cdcd_jax.diffusion import samplers as samplers
from cdcd_jax.diffusion.bound import evaluate_bound as evaluate_bound
from cdcd_jax.diffusion.bound import prior_kl as prior_kl
from cdcd_jax.diffusion.contrastive import Contrast as Contrast
from cdcd_jax.diffusion.guidance import guide as guide
from cdcd_jax.diffusion.guidance import guide_by_reward as guide_by_reward
from cdcd_jax.diffusion.guidance import guide_denoiser as guide_denoiser
from cdcd_jax.diffusion.loss import LossTerms as LossTerms
from cdcd_jax.diffusion.loss import make_loss as make_loss
from cdcd_jax.diffusion.negatives import shuffle_chunks as shuffle_chunks
from cdcd_jax.diffusion.negatives import shuffle_patches as shuffle_patches
from cdcd_jax.diffusion.particles import Particles as Particles
from cdcd_jax.diffusion.particles import sample_particles as sample_particles
from cdcd_jax.diffusion.posterior import log_posterior as log_posterior
from cdcd_jax.diffusion.posterior import log_q_posterior as log_q_posterior
from cdcd_jax.diffusion.ramps import Interval as Interval
from cdcd_jax.diffusion.ramps import Ramp as Ramp
from cdcd_jax.diffusion.samplers.sample import Sampler as Sampler
from cdcd_jax.diffusion.samplers.sample import make_sampler as make_sampler
from cdcd_jax.diffusion.samplers.sample import sample as sample
from cdcd_jax.diffusion.schedule import Schedule as Schedule
from cdcd_jax.diffusion.schedule import absorbing_schedule as absorbing_schedule
from cdcd_jax.diffusion.schedule import log_snr as log_snr
from cdcd_jax.diffusion.schedule import mask_replace_schedule as mask_replace_schedule
from cdcd_jax.diffusion.timesteps import TimestepStats as TimestepStats
from cdcd_jax.diffusion.timesteps import init_timestep_stats as init_timestep_stats
from cdcd_jax.diffusion.transitions import log_q as log_q
from cdcd_jax.diffusion.transitions import q_sample as q_sample
from cdcd_jax.lazy import attach as _attach
from cdcd_jax.registry import register as register

_PACKAGES = [
    *("models", "conditioning", "codecs", "data", "training", "distributed", "evaluation"),
    *("visualization", "interop"),
]
_NAMES = dict(zip(_PACKAGES, _PACKAGES, strict=True))
_NAMES |= {"load": "experiment.load", "Generator": "generator", "evaluate": "tasks.evaluation"}
__getattr__, __dir__ = _attach(__name__, _NAMES)
