"""The cost of what a configuration runs, from shapes alone."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from cdcd_jax.data.pipeline import make_train_dataset
from cdcd_jax.distributed.mesh import AXES, make_mesh
from cdcd_jax.distributed.partition import check_use
from cdcd_jax.experiment.abstract_data import abstract_texts
from cdcd_jax.experiment.check import check_settings
from cdcd_jax.experiment.step import Step, check_heads, make_step
from cdcd_jax.planning.planned import Planned, PlannedSampler, PlannedStep
from cdcd_jax.registry import SOURCES
from cdcd_jax.settings.sections import find_rules, make_section
from cdcd_jax.tasks.codec_family import CodecTraining
from cdcd_jax.tasks.codec_run import make_codec_step
from cdcd_jax.tasks.codecs import find_codec
from cdcd_jax.tasks.conditions import ConditionedData, load_condition
from cdcd_jax.tasks.task import find_task
from cdcd_jax.training.generation import check_sampling, make_sample_fn
from cdcd_jax.training.objective import count_batch_negatives, needs_intra
from cdcd_jax.training.sampling_options import complete_options, with_grid

PROGRAMS = ("train", "sample", "codec")
"""What can be planned, by the mode that runs it."""


class PlannedRun(NamedTuple):
    """A program that is planned, and how its configuration arranges devices.

    Attributes:
        planned: The program and its shapes.
        config: The configuration.
        program: Of ``PROGRAMS``.
        example: What an example is.
        dtype: What it is computed in.
        num_devices: Number of devices of the section ``mesh``; at least one.
        length: Tokens of an example; None of a codec.
    """

    planned: Planned
    config: Any
    program: str
    example: str
    dtype: str
    num_devices: int
    length: int | None = None

    def arrange(self, devices: Sequence[Any], *, data: int | None = None) -> tuple[Mesh, Any]:
        """Arrange devices with the configured ``fsdp`` and ``tensor``, and the arrays on them.

        Args:
            devices: Which ones.
            data: Copies; None takes what is left.

        Returns:
            The mesh, and where each array that stays there lives.

        Raises:
            ValueError: If they cannot be arranged so.
        """
        sizes = {name: self.config.mesh[name] for name in ("fsdp", "tensor")}
        mesh = make_section(self.config, "mesh", make_mesh, devices, data=data, **sizes)
        codec = self.program == "codec"
        rules = find_rules(self.config, "codec_rules" if codec else "rules")
        if not codec:
            check_heads(self.config, mesh)
        found = make_section(self.config, "mesh", self.planned.shardings, mesh, rules)
        if not codec:
            params = found if self.program == "sample" else found.params
            make_section(self.config, "mesh", check_use, params, mesh)
        return mesh, found


def count_devices(config: Any) -> int:
    """Count the devices of the section ``mesh``; at least one."""
    return math.prod(config.mesh[name] or 1 for name in AXES)


def build_plan(config: Any, program: str | None = None) -> PlannedRun:
    """Describe what a configuration runs: nothing is read, computed or compiled.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/common.py`` makes it.
        program: ``"train"`` for the training step, ``"sample"`` for the sampler of an evaluation,
            ``"codec"`` for the training step of the codec. None for ``"train"``, but of data that
            are for a codec alone.

    Returns:
        What ``plan_mesh`` needs.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``.
    """
    if program is None:
        tasks = SOURCES.find(config.data.name, "data.name").tasks
        program = "train" if any(task.provides for task in tasks) else "codec"
    if program == "codec":
        return _plan_codec(config)
    check_settings(config)
    # Off CPUs, blocks are scanned one by one; the plan is for what runs there.
    config = _changed(config, {"denoiser.unroll": 1})
    data = find_task(config).abstract_data()
    conditioned = load_condition(config, data, None, texts=abstract_texts(config))
    length, vocab_size, grid = data.train.length, data.codec.vocab_size, data.codec.grid
    step = make_step(config, conditioned, vocab_size=vocab_size, grid=grid)
    batch = _describe_batch(config, conditioned, length)
    if program == "sample":
        planned = _plan_sampler(config, step, batch, grid)
    else:
        unsaving = make_step(_unsaving(config), conditioned, vocab_size=vocab_size, grid=grid)
        planned = PlannedStep(
            state=jax.eval_shape(step.init_state),
            train_step=step.train_step,
            unsaving_step=unsaving.train_step,
            batch=batch,
            batch_size=config.train.batch_size,
            num_microbatches=config.train.num_microbatches,
        )
        rows = planned.rows(config.train.num_microbatches)
        make_section(config, "loss", jax.eval_shape, step.train_step, planned.state, rows)
    return PlannedRun(
        planned=planned,
        config=config,
        program=program,
        example=f"{length} tokens of {vocab_size} kinds",
        dtype=config.denoiser.compute_dtype,
        num_devices=count_devices(config),
        length=length,
    )


def _describe_batch(config: Any, conditioned: ConditionedData, length: int) -> Any:
    """Return the shapes of a batch of one example, as the training step takes it."""
    loss = config.loss
    first: Any = make_section(
        config,
        "data",
        make_train_dataset,
        conditioned.train,
        batch_size=1,
        seed=config.train.seed,
        num_negatives=count_batch_negatives(loss.mechanism, loss.negatives, loss.num_negatives),
    )[0]
    if needs_intra(loss.mechanism, loss.negatives) and config.data.get("intra") == "waveform":
        shape = (1, loss.num_negatives, length)
        first = {**first, "intra_negatives": jax.ShapeDtypeStruct(shape, "int32")}
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dict(first))
    return jax.eval_shape(conditioned.preprocess, batch)


def _plan_sampler(config: Any, step: Step, batch: Any, grid: tuple[int, int]) -> PlannedSampler:
    """Describe the sampler that an evaluation calls, with its first settings."""
    schedule, model = step.schedule, step.model
    chosen = {"num_steps": config.eval.num_steps[0], "truncation": config.eval.truncations[0]}
    options = make_section(config, "sample", complete_options, config.sample.to_dict(), chosen)
    options = make_section(config, "sample", with_grid, options, grid)
    count = config.eval.batch_size
    make_section(config, "eval", check_sampling, schedule, model, num_samples=count, **options)
    length = math.prod(grid)
    return PlannedSampler(
        weights=jax.eval_shape(model.init, jax.random.key(0)),
        make_sampler=lambda mesh: make_sample_fn(schedule, model, length=length, mesh=mesh),
        options=options,
        batch={"cond": batch["cond"]},
        batch_size=count,
    )


def _plan_codec(config: Any) -> PlannedRun:
    check_settings(config, for_codec=True)
    family, name = find_codec(config), config.codec.name
    made = None
    if "codec_train" in family.sections:
        made = make_section(config, "codec", family.make, config, None)
    if not isinstance(made, CodecTraining):
        how = "fitted in one pass over the data" if family.sections else "not trained"
        raise ValueError(f'codec.name = "{name}" is {how}, and has no step that can be planned')
    init_state, train_step = make_codec_step(config, made)
    planned = PlannedStep(
        state=jax.eval_shape(init_state),
        train_step=train_step,
        unsaving_step=train_step,
        batch=made.batch,
        batch_size=config.codec_train.batch_size,
        num_microbatches=config.codec_train.num_microbatches,
    )
    examples = (f"{name} {list(x.shape[1:])} of {x.dtype}" for name, x in made.batch.items())
    return PlannedRun(
        planned=planned,
        config=config,
        program="codec",
        example=", ".join(examples),
        dtype=config.codec.get("compute_dtype", "float32"),
        num_devices=count_devices(config),
    )


def _unsaving(config: Any) -> Any:
    """Return the settings without recomputation."""
    saving = {"loss.chains_per_pass": None, "loss.positions_per_pass": None}
    return _changed(config, {"denoiser.remat": "none", **saving})


def _changed(config: Any, changes: dict[str, Any]) -> Any:
    copy = config.copy_and_resolve_references()
    with copy.unlocked():
        for key, value in changes.items():
            section, name = key.split(".")
            copy[section][name] = value
    return copy
