"""Programs that are planned: a training step, and a sampler from its first step to its last."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax.sharding import Mesh

from cdcd_jax.distributed.mesh import bytes_per_device, check_batch_size, replicated, split_batch
from cdcd_jax.distributed.partition import Rule, shard_params
from cdcd_jax.planning.flops import Cost, count_cost
from cdcd_jax.training.generation import CompiledSampler
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.state import TrainState, shard_state
from cdcd_jax.training.step import TrainStep


@dataclass(frozen=True, kw_only=True)
class Planned(ABC):
    """A program that is planned, by the shapes of what it takes.

    Attributes:
        batch: Shapes of a batch of a single example.
        batch_size: Examples in a batch as configured.
        num_microbatches: Parts that a batch is worked through in.
    """

    batch: Mapping[str, Any]
    batch_size: int
    num_microbatches: int = 1

    @property
    @abstractmethod
    def params(self) -> Any:
        """The shapes of the parameters."""

    @property
    def repeats(self) -> bool:
        """Whether anything is computed again to save memory."""
        return False

    @abstractmethod
    def shardings(self, mesh: Mesh, rules: Sequence[Rule] = ()) -> Any:
        """Decide where each array that stays on the devices lives."""

    @abstractmethod
    def lower(
        self, mesh: Mesh, shardings: Any, batch_size: int
    ) -> tuple[jax.stages.Lowered, dict[str, int]]:
        """Lower the program, and count the bytes that its arguments take on each device."""

    @abstractmethod
    def count_cost(self, count: int, *, saving: bool) -> Cost:
        """Count the cost for ``count`` examples on one device."""

    @abstractmethod
    def check_batch_size(self, mesh: Mesh) -> None:
        """Raise a ValueError unless the devices can share a batch as configured."""

    def count_parameters(self) -> dict[str, int]:
        """Count the parameters of each part, such as the denoiser and its condition."""
        return {
            name: sum(leaf.size for leaf in jax.tree.leaves(part))
            for name, part in self.params.items()
        }

    def rows(self, count: int) -> Any:
        """Return the shapes of a batch of ``count`` examples."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), dict(self.batch)
        )

    def cost(self, count: int, *, saving: bool = True) -> Cost:
        """Return the cost for ``count`` examples on one device.

        What it costs beyond the weights grows with the examples, so two small batches tell it.

        Args:
            count: Number of examples; a multiple of the microbatches.
            saving: Whether to count what is computed again to save memory.
        """
        one, two = self._costs[saving]
        return one + (two + one.times(-1.0)).times(count / self.num_microbatches - 1)

    @cached_property
    def _costs(self) -> dict[bool, tuple[Cost, Cost]]:
        counts = self.num_microbatches, 2 * self.num_microbatches

        def of_one_and_two(saving: bool) -> tuple[Cost, Cost]:
            one, two = (self.count_cost(count, saving=saving) for count in counts)
            return one, two

        model = of_one_and_two(saving=False)
        return {False: model, True: of_one_and_two(saving=True) if self.repeats else model}


@dataclass(frozen=True, kw_only=True)
class PlannedStep(Planned):
    """A training whose steps are planned.

    Attributes:
        state: The shapes of its state.
        train_step: One update.
        unsaving_step: The same with no activation computed twice and the head in one piece, whose
            operations are those that the model has to do.
    """

    state: TrainState
    train_step: TrainStep
    unsaving_step: TrainStep

    @property
    def params(self) -> Any:
        """The shapes of the parameters."""
        return self.state.params

    @property
    def repeats(self) -> bool:
        """Whether a step differs from that of the model alone."""
        return self.train_step is not self.unsaving_step

    def shardings(self, mesh: Mesh, rules: Sequence[Rule] = ()) -> TrainState:
        """Decide where each array of the state lives."""
        return shard_state(self.state, mesh, rules)

    def check_batch_size(self, mesh: Mesh) -> None:
        """Raise a ValueError unless the devices can share a batch as configured."""
        check_batch_size(self.batch_size, mesh, num_microbatches=self.num_microbatches)

    def lower(
        self, mesh: Mesh, shardings: TrainState, batch_size: int
    ) -> tuple[jax.stages.Lowered, dict[str, int]]:
        """Lower the step, and count the bytes of state and batch on each device."""
        state = jax.tree.map(_placed, self.state, shardings)
        batch = jax.tree.map(lambda x: _placed(x, split_batch(mesh)), self.rows(batch_size))
        named = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
        held = {
            "parameters": bytes_per_device(named.pop("params")),
            "average": bytes_per_device(named.pop("ema_params")),
            "optimizer": bytes_per_device(named.pop("opt_state")),
            "other": bytes_per_device(named),
            "batch": bytes_per_device(batch),
        }
        return compile_step(self.train_step, mesh, shardings).lower(state, batch), held

    def count_cost(self, count: int, *, saving: bool) -> Cost:
        """Count the cost of a step of ``count`` examples on one device."""
        step = self.train_step if saving else self.unsaving_step
        return count_cost(step, self.state, self.rows(count))


@dataclass(frozen=True, kw_only=True)
class PlannedSampler(Planned):
    """A sampler that is planned.

    Attributes:
        weights: The shapes of the parameters.
        make_sampler: Makes what draws samples on a mesh, or where the parameters are.
        options: Of sampling.
    """

    weights: Any
    make_sampler: Callable[[Mesh | None], CompiledSampler]
    options: Mapping[str, Any]

    @property
    def params(self) -> Any:
        """The shapes of the parameters."""
        return self.weights

    def shardings(self, mesh: Mesh, rules: Sequence[Rule] = ()) -> Any:
        """Decide where each array of the parameters lives."""
        return shard_params(self.weights, mesh, rules)

    def check_batch_size(self, mesh: Mesh) -> None:
        """Accept any size: a batch is filled up until it divides over the devices."""

    def lower(
        self, mesh: Mesh, shardings: Any, batch_size: int
    ) -> tuple[jax.stages.Lowered, dict[str, int]]:
        """Lower the sampler, and count the bytes of parameters and conditions on each device."""
        params = jax.tree.map(_placed, self.weights, shardings)
        key = _placed(jax.eval_shape(lambda: jax.random.key(0)), replicated(mesh))
        cond = self.rows(batch_size)["cond"]
        lowered = self.make_sampler(mesh).lower(params, key, cond, **self.options)
        (_, _, rows), _ = lowered.in_avals
        placed = jax.tree.map(lambda x: _placed(x, split_batch(mesh)), rows)
        held = {"parameters": bytes_per_device(params), "batch": bytes_per_device(placed)}
        return lowered, held

    def count_cost(self, count: int, *, saving: bool) -> Cost:
        """Count the cost of ``count`` samples on one device, where nothing is computed twice."""
        del saving
        sampler = self.make_sampler(None)

        def draw(params: Any, key: Any, cond: Any) -> Any:
            return sampler(params, key, cond, **self.options)

        key = jax.eval_shape(lambda: jax.random.key(0))
        return count_cost(draw, self.weights, key, self.rows(count)["cond"])


def _placed(shape: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
