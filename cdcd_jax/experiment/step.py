"""The training step of a diffusion, from its configuration and the shapes of its data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from cdcd_jax.conditioning.conditioning import Conditioning
from cdcd_jax.diffusion.schedule import Schedule, absorbing_schedule, mask_replace_schedule
from cdcd_jax.diffusion.timesteps import init_timestep_stats
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.settings.sections import make_decaying_optimizer, make_section
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.training.model import Model, make_model
from cdcd_jax.training.objective import make_objective
from cdcd_jax.training.state import TrainState, init_state
from cdcd_jax.training.step import TrainStep, make_train_step

STEP_OPTIONS = ("num_microbatches", "ema_decay", "ema_every", "max_skipped")
"""Keys of the section ``train`` that ``make_train_step`` takes."""


class Step(NamedTuple):
    """The trained objective, and one update of it.

    Attributes:
        schedule: The noise schedule.
        model: The network and its condition.
        init_state: Builds the state before the first step; to be jitted.
        train_step: One update; to be compiled with ``compile_step``.
    """

    schedule: Schedule
    model: Model
    init_state: Callable[[], TrainState]
    train_step: TrainStep


def make_step(
    config: Any, conditioned: ConditionedData, *, vocab_size: int, grid: tuple[int, int]
) -> Step:
    """Make the step of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/common.py`` makes it.
        conditioned: The examples with their conditions.
        vocab_size: K, the number of tokens.
        grid: Rows and columns of the tokens.

    Returns:
        The step; nothing is computed or compiled yet.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``.
    """
    train = config.train
    schedule, model = make_network(
        config, conditioned.conditioning, vocab_size=vocab_size, grid=grid
    )
    optimizer = make_section(
        config,
        "optimizer",
        make_decaying_optimizer,
        num_steps=train.num_steps,
        **config.optimizer,
    )
    objective = make_section(
        config, "loss", make_objective, schedule, model, grid=grid, **config.loss
    )
    step_options = {key: train[key] for key in STEP_OPTIONS}
    train_step = make_section(
        config, "train", make_train_step, objective, optimizer, **step_options
    )

    def initial_state() -> TrainState:
        stats = init_timestep_stats(schedule.num_steps) if train.importance_sampling else None
        return init_state(jax.random.key(train.seed), model.init, optimizer, stats)

    return Step(schedule, model, initial_state, train_step)


def make_network(
    config: Any, conditioning: Conditioning, *, vocab_size: int, grid: tuple[int, int]
) -> tuple[Schedule, Model]:
    """Make the noise schedule and the model of a configuration.

    Args:
        config: A ``ConfigDict`` as ``configs/common.py`` makes it.
        conditioning: What the denoiser is conditioned on.
        vocab_size: K, the number of tokens.
        grid: Rows and columns of the tokens.

    Returns:
        Both; nothing is computed yet.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``.
    """
    schedule = make_section(config, "schedule", _schedule, vocab_size=vocab_size, **config.schedule)
    network = make_section(
        config,
        "denoiser",
        make_denoiser,
        vocab_size=vocab_size,
        num_steps=schedule.num_steps,
        grid=grid,
        **conditioning.denoiser,
        **config.denoiser,
    )
    dropout = config.condition.dropout
    condition = conditioning.condition
    model = make_section(config, "condition", make_model, network, condition, dropout=dropout)
    return schedule, model


def check_heads(config: Any, mesh: Mesh) -> None:
    """Raise a ValueError unless the devices along ``tensor`` can share the attention heads."""
    if config.denoiser.num_heads % mesh.shape["tensor"]:
        raise ValueError(
            f"mesh.tensor = {mesh.shape['tensor']} does not divide denoiser.num_heads = "
            f"{config.denoiser.num_heads}; take a size that does"
        )


def _schedule(*, name: str, vocab_size: int, num_steps: int, **shares: Any) -> Schedule:
    if name == "absorbing":
        along = {key: shares[key] for key in ("curve", "power") if key in shares}
        return absorbing_schedule(num_steps=num_steps, vocab_size=vocab_size, **along)
    if name == "mask_replace":
        return mask_replace_schedule(num_steps=num_steps, vocab_size=vocab_size, **shares)
    raise ValueError(f'name = "{name}" is not a schedule; there are "mask_replace" and "absorbing"')
