"""A generator of a few tokens by class, whose network is a function."""

from collections.abc import Callable
from typing import Any

import cdcd_jax as cdcd
from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.conditioning.classes import ClassConditioning
from cdcd_jax.conditioning.condition import no_condition
from cdcd_jax.generator import Generator
from cdcd_jax.training.generation import make_bound_fn, make_sample_fn
from cdcd_jax.training.model import Model


def tiny_generator(
    denoise: Callable[[Any, Any, Any, Any], Any],
    *,
    vocab_size: int,
    length: int,
    num_steps: int,
    class_names: tuple[str, ...] = ("all",),
) -> Generator:
    """Make a model of ``denoise(params, zt, t, cond)``, where ``cond`` is a label for each row."""
    schedule = cdcd.absorbing_schedule(num_steps=num_steps, vocab_size=vocab_size)
    model = Model(init=lambda key: {}, denoise=denoise)
    return Generator(
        name="tiny",
        schedule=schedule,
        model=model,
        params={},
        codec=PixelCodec(vocab_size=vocab_size, grid=(1, length)),
        conditioning=ClassConditioning(
            condition=no_condition(), denoiser={}, class_names=class_names
        ),
        sampling={"num_steps": num_steps, "truncation": 1.0, "top_k": None, "temperature": 1.0},
        sample_fn=make_sample_fn(schedule, model, length=length),
        bound_fn=make_bound_fn(schedule, model),
    )
