"""What a trained network is used for, as compiled functions of its parameters."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from cdcd_jax.diffusion.bound import evaluate_bound
from cdcd_jax.diffusion.guidance import guide_denoiser
from cdcd_jax.diffusion.sampler import sample
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.training.model import Model
from cdcd_jax.typing import Params, PRNGKey


def make_bound_fn(schedule: Schedule, model: Model) -> Callable[..., Any]:
    """Compile the bound of a model.

    Args:
        schedule: The noise schedule.
        model: The network and what it is told.

    Returns:
        ``bound_fn(params, key, z0, cond) -> [batch]``, nats summed over positions.
    """

    @jax.jit
    def bound_fn(params: Params, key: PRNGKey, z0: Any, cond: Any) -> Any:
        features = model.encode(params, cond)
        return evaluate_bound(key, schedule, partial(model.denoise, params), z0, features)

    return bound_fn


def make_sample_fn(schedule: Schedule, model: Model, *, length: int) -> Callable[..., Any]:
    """Compile the sampler of a model.

    Args:
        schedule: The noise schedule.
        model: The network and what it is told.
        length: Number of tokens of a sample.

    Returns:
        ``sample_fn(params, key, cond, num_steps=, truncation=, top_k=, temperature=, guidance=) ->
        tokens`` [batch length], a sample for each row of ``cond``; compiled anew for each setting.
        ``known=`` tokens [batch length] stand, where they are not the mask.
        With ``return_trajectory=True`` also the states on the way, [num_steps+1 batch length].
    """
    static = ("num_steps", "truncation", "top_k", "temperature", "guidance", "return_trajectory")

    @partial(jax.jit, static_argnames=static)
    def sample_fn(
        params: Params, key: PRNGKey, cond: Any, guidance: float = 1.0, **options: Any
    ) -> Any:
        batch = jax.tree.leaves(cond)[0].shape[0]
        denoise_fn = partial(model.denoise, params)
        if guidance != 1.0:
            check_guidance(guidance, model)
            assert model.null is not None
            denoise_fn = guide_denoiser(denoise_fn, model.null(params, batch), guidance)
        features = model.encode(params, cond)
        return sample(key, schedule, denoise_fn, features, shape=(batch, length), **options)

    return sample_fn


def check_sampling(
    schedule: Schedule,
    model: Model,
    num_classes: int,
    *,
    num_samples: int,
    num_steps: int | None,
    truncation: float,
    top_k: int | None,
    temperature: float,
    guidance: float = 1.0,
    label: int | None = None,
) -> None:
    """Check what samples are asked for.

    Args:
        schedule: The noise schedule.
        model: What is sampled.
        num_classes: Number of classes; 0 for a model of texts.
        num_samples: >= 1.
        num_steps: 1..T, or None for T.
        truncation: In (0, 1].
        top_k: 1..K, or None for K.
        temperature: > 0.
        guidance: >= 0; anything but 1 needs a model that was trained for it.
        label: A class, or None for all of them in turn.

    Raises:
        ValueError: If a value is out of its range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples = {num_samples} must be at least 1")
    check_num_steps(num_steps, schedule)
    check_truncation("truncation", truncation)
    if top_k is not None and not 1 <= top_k <= schedule.vocab_size:
        raise ValueError(f"top_k = {top_k} must lie in 1..K = 1..{schedule.vocab_size}")
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature = {temperature} must be above 0")
    check_guidance(guidance, model)
    if label is not None and num_classes == 0:
        raise ValueError(f"label = {label}: this is a model of texts; give --prompt instead")
    if label is not None and not 0 <= label < num_classes:
        raise ValueError(f"label = {label} must lie in 0..{num_classes - 1}")


def check_guidance(guidance: float, model: Model) -> None:
    """Raise a ValueError unless a model can be guided so."""
    if not 0.0 <= guidance < math.inf:
        raise ValueError(f"guidance = {guidance} must be at least 0; 1 is none")
    if guidance != 1.0 and model.null is None:
        raise ValueError(
            f"guidance = {guidance} needs a model that was trained without its condition now and "
            "then (condition.dropout above 0); leave it at 1"
        )


def check_num_steps(num_steps: int | None, schedule: Schedule) -> None:
    """Raise a ValueError unless a number of sampling steps is None or lies in 1..T."""
    if num_steps is not None and not 1 <= num_steps <= schedule.num_steps:
        raise ValueError(
            f"num_steps = {num_steps} must lie in 1..T = 1..{schedule.num_steps}, "
            "as schedule.num_steps says"
        )


def check_truncation(name: str, truncation: float) -> None:
    """Raise a ValueError with the given name unless a truncation rate lies in (0, 1]."""
    if not 0.0 < truncation <= 1.0:
        raise ValueError(f"{name} = {truncation} must lie in (0, 1]; 1 keeps everything")
