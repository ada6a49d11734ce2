"""The cost of a configuration's training, from shapes alone."""

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
from cdcd_jax.experiment.step import check_heads, make_step
from cdcd_jax.planning.mesh_plan import Planned
from cdcd_jax.settings.sections import find_rules, make_section
from cdcd_jax.tasks.conditions import load_condition
from cdcd_jax.tasks.task import find_task
from cdcd_jax.training.objective import count_batch_negatives, needs_intra
from cdcd_jax.training.state import TrainState, shard_state


class PlannedRun(NamedTuple):
    """A training that is planned, and how its configuration arranges devices.

    Attributes:
        planned: The step and its shapes.
        config: The configuration.
        length: Tokens of an example.
        vocab_size: K, the number of tokens.
        num_devices: Number of devices of the section ``mesh``; at least one.
    """

    planned: Planned
    config: Any
    length: int
    vocab_size: int
    num_devices: int

    def arrange(
        self, devices: Sequence[Any], *, data: int | None = None
    ) -> tuple[Mesh, TrainState]:
        """Arrange devices with the configured ``fsdp`` and ``tensor``, and the state on them.

        Args:
            devices: Which ones.
            data: Copies; None takes what is left.

        Returns:
            The mesh, and where each array of the state lives.

        Raises:
            ValueError: If they cannot be arranged so.
        """
        sizes = {name: self.config.mesh[name] for name in ("fsdp", "tensor")}
        mesh = make_section(self.config, "mesh", make_mesh, devices, data=data, **sizes)
        check_heads(self.config, mesh)
        rules = find_rules(self.config)
        state = make_section(self.config, "mesh", shard_state, self.planned.state, mesh, rules)
        make_section(self.config, "mesh", check_use, state.params, mesh)
        return mesh, state


def count_devices(config: Any) -> int:
    """Count the devices of the section ``mesh``; at least one."""
    return math.prod(config.mesh[name] or 1 for name in AXES)


def build_plan(config: Any) -> PlannedRun:
    """Describe the training of a configuration: nothing is read, computed or compiled.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/common.py`` makes it.

    Returns:
        What ``plan_mesh`` needs.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``.
    """
    check_settings(config)
    # Off CPUs, blocks are scanned one by one; the plan is for what trains there.
    config = _changed(config, {"denoiser.unroll": 1})
    data = find_task(config).abstract_data()
    conditioned = load_condition(config, data, None, texts=abstract_texts(config))
    vocab_size, grid = data.codec.vocab_size, data.codec.grid
    step = make_step(config, conditioned, vocab_size=vocab_size, grid=grid)
    unsaving = make_step(_unsaving(config), conditioned, vocab_size=vocab_size, grid=grid)
    loss, train = config.loss, config.train
    first: Any = make_section(
        config,
        "data",
        make_train_dataset,
        conditioned.train,
        batch_size=1,
        seed=train.seed,
        num_negatives=count_batch_negatives(loss.mechanism, loss.negatives, loss.num_negatives),
    )[0]
    if needs_intra(loss.mechanism, loss.negatives) and config.data.get("intra") == "waveform":
        shape = (1, loss.num_negatives, data.train.length)
        first = {**first, "intra_negatives": jax.ShapeDtypeStruct(shape, "int32")}
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dict(first))
    planned = Planned(
        state=jax.eval_shape(step.init_state),
        train_step=step.train_step,
        unsaving_step=unsaving.train_step,
        batch=jax.eval_shape(conditioned.preprocess, batch),
        batch_size=train.batch_size,
        num_microbatches=train.num_microbatches,
    )
    rows = planned.rows(train.num_microbatches)
    make_section(config, "loss", jax.eval_shape, step.train_step, planned.state, rows)
    return PlannedRun(planned, config, data.train.length, vocab_size, count_devices(config))


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
