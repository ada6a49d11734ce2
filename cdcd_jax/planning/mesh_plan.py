"""The cost of a training step on a mesh, from the compiler, without running it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from cdcd_jax.distributed.mesh import bytes_per_device, num_batch_shards, split_batch
from cdcd_jax.planning.compiled import KINDS, Collective, read_collectives
from cdcd_jax.planning.flops import Cost, count_cost
from cdcd_jax.planning.hardware import Hardware, StepTime, predict_step
from cdcd_jax.planning.products import count_kernels, read_products
from cdcd_jax.planning.program import Program
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.step import TrainStep

# Only the program's text and its buffers are looked at; it will not run.
_UNRUN = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Memory(NamedTuple):
    """Bytes on each device, by what they hold.

    Attributes:
        parameters: What the optimizer moves.
        average: The average of the weights.
        optimizer: The optimizer's moments.
        other: The rest of the state: statistics of the timesteps, counters.
        batch: The device's part of a batch.
        gradients: As large as the parameters; part of what the program allocates meanwhile.
        temporaries: The rest of that, activations above all.
        padding: What the device pads the arrays of state and batch by.
    """

    parameters: int
    average: int
    optimizer: int
    other: int
    batch: int
    gradients: int
    temporaries: int
    padding: int = 0

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self)


class MeshPlan(NamedTuple):
    """A step on one mesh.

    Attributes:
        mesh: Sizes of the mesh's axes.
        batch_size: Examples in a batch, of all devices together.
        memory: Bytes on each device.
        collectives: Communication between the devices in a step.
        cost: What each device computes.
        time: What that should take.
        computed: Operations of each device's matrix products in its compiled program, and the same
            with what it pads them by; None where the program is not for the hardware.
        kernels: Calls of kernels that are not the compiler's own, by name.
        compiler: That of the hardware, which made the program; None where CPUs stood in.
    """

    mesh: Mapping[str, int]
    batch_size: int
    memory: Memory
    collectives: Sequence[Collective]
    cost: Cost
    time: StepTime
    computed: tuple[float, float] | None = None
    kernels: Mapping[str, int] = {}
    compiler: str | None = None

    @property
    def num_devices(self) -> int:
        """Devices of the mesh."""
        return math.prod(self.mesh.values())

    @property
    def throughput(self) -> float:
        """Examples per second if no collective hides behind computation."""
        return self.batch_size / self.time.apart

    def collected(self) -> dict[str, tuple[int, float]]:
        """Sum up the collectives: of each kind how many, and the bytes that each device sends."""
        return {
            kind: (sum(c.runs for c in found), sum(c.sent for c in found))
            for kind in KINDS
            if (found := [c for c in self.collectives if c.kind == kind])
        }


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A training whose steps are planned.

    Attributes:
        state: The shapes of its state.
        train_step: One update.
        unsaving_step: The same with no activation computed twice and the head in one piece, whose
            operations are those that the model has to do.
        batch: Shapes of a batch of a single example.
        batch_size: Examples in a batch as configured.
        num_microbatches: Parts that a batch is worked through in.
    """

    state: TrainState
    train_step: TrainStep
    unsaving_step: TrainStep
    batch: Mapping[str, Any]
    batch_size: int
    num_microbatches: int

    def count_parameters(self) -> dict[str, int]:
        """Count the parameters of each part, such as the denoiser and its condition."""
        return {
            name: sum(leaf.size for leaf in jax.tree.leaves(part))
            for name, part in self.state.params.items()
        }

    def rows(self, count: int) -> Any:
        """Return the shapes of a batch of so many examples."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), dict(self.batch)
        )

    def cost(self, count: int, *, saving: bool = True) -> Cost:
        """Return the cost of a step of so many examples on one device.

        What it costs beyond the weights grows with the examples, so two small batches tell it.

        Args:
            count: Number of examples; a multiple of the microbatches.
            saving: Whether to count what is computed again to save memory.
        """
        one, two = self._costs[saving]
        return one + (two + one.times(-1.0)).times(count / self.num_microbatches - 1)

    @cached_property
    def _costs(self) -> dict[bool, tuple[Cost, Cost]]:
        def of_one_and_two(step: TrainStep) -> tuple[Cost, Cost]:
            one, two = self.rows(self.num_microbatches), self.rows(2 * self.num_microbatches)
            return count_cost(step, self.state, one), count_cost(step, self.state, two)

        return {True: of_one_and_two(self.train_step), False: of_one_and_two(self.unsaving_step)}


def plan_mesh(
    planned: Planned,
    mesh: Mesh,
    shardings: TrainState,
    hardware: Hardware,
    *,
    batch_size: int | None = None,
    compiler: str | None = None,
) -> MeshPlan:
    """Partition a step for a mesh, compile it, and read what it takes.

    The devices need not be there. They may be described for their own compiler, see
    `cdcd_jax.planning.topology`, or as many CPU devices stand in for them: how XLA lays out the
    buffers of a program for CPUs approximates what it does for others.

    Args:
        planned: The training.
        mesh: From ``make_mesh``.
        shardings: Where each array of the state lives.
        hardware: What the time is predicted for.
        batch_size: Examples in a batch; as configured if None.
        compiler: What compiles for the devices of the mesh; None if they are CPUs.

    Returns:
        The plan.
    """
    batch_size = planned.batch_size if batch_size is None else batch_size
    state = jax.tree.map(_placed, planned.state, shardings)
    batch = jax.tree.map(lambda x: _placed(x, split_batch(mesh)), planned.rows(batch_size))
    lowered = compile_step(planned.train_step, mesh, shardings).lower(state, batch)
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    try:
        # What cannot run here cannot be read back from the cache of compiled programs either.
        jax.config.update("jax_enable_compilation_cache", cached and compiler is None)
        compiled = lowered.compile(compiler_options=None if compiler else _UNRUN)
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    program = Program(compiled.as_text())
    collectives = read_collectives(program, mesh.size)
    # A device computes with whole parameters on its own rows; those along "tensor" share the work.
    local = planned.cost(batch_size // num_batch_shards(mesh))
    cost, computed = local.times(1 / mesh.shape["tensor"]), None
    if compiler:
        products = read_products(program)
        computed = sum(p.flops for p in products), sum(p.padded(hardware.tile) for p in products)
        cost = dataclasses.replace(cost, flops=max(cost.flops, computed[1]))
    return MeshPlan(
        mesh=dict(mesh.shape),
        batch_size=batch_size,
        memory=_memory(state, batch, compiled.memory_analysis(), padded=compiler is not None),
        collectives=collectives,
        cost=cost,
        time=predict_step(cost, collectives, hardware),
        computed=computed,
        kernels=count_kernels(program) if compiler else {},
        compiler=compiler,
    )


def _memory(state: TrainState, batch: Any, sizes: Any, *, padded: bool) -> Memory:
    named = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    parameters = bytes_per_device(named.pop("params"))
    allocated = sizes.temp_size_in_bytes
    if padded:  # what is returned and does not take the place of an argument
        allocated += sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    gradients = min(parameters, allocated)
    memory = Memory(
        parameters=parameters,
        average=bytes_per_device(named.pop("ema_params")),
        optimizer=bytes_per_device(named.pop("opt_state")),
        other=bytes_per_device(named),
        batch=bytes_per_device(batch),
        gradients=gradients,
        temporaries=allocated - gradients,
    )
    padding = sizes.argument_size_in_bytes - (memory.total - allocated) if padded else 0
    return memory._replace(padding=max(padding, 0))


def _placed(shape: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
