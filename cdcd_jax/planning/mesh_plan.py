"""The cost of a program on a mesh, from the compiler, without running it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from cdcd_jax.distributed.mesh import num_batch_shards
from cdcd_jax.planning.compiled import KINDS, Collective, read_collectives
from cdcd_jax.planning.flops import Cost
from cdcd_jax.planning.hardware import Hardware, StepTime, predict_step
from cdcd_jax.planning.planned import Planned
from cdcd_jax.planning.products import count_kernels, read_products
from cdcd_jax.planning.program import Program
from cdcd_jax.spacing import round_up

# Only the program's text and its buffers are looked at; it will not run.
_UNRUN = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Memory(NamedTuple):
    """Bytes on each device, by what they hold.

    Attributes:
        parameters: Of the model. A training has, besides:
        average: The average of the weights.
        optimizer: The optimizer's moments.
        other: The rest of the state: statistics of the timesteps, counters.
        batch: The device's part of a batch.
        gradients: As large as the parameters; part of what a step allocates meanwhile.
        temporaries: The rest of that, activations above all.
        padding: What the device pads its arguments by.
    """

    parameters: int
    average: int = 0
    optimizer: int = 0
    other: int = 0
    batch: int = 0
    gradients: int = 0
    temporaries: int = 0
    padding: int = 0

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self)


class MeshPlan(NamedTuple):
    """A program on one mesh.

    Attributes:
        mesh: Sizes of the mesh's axes.
        batch_size: Examples in a batch, of all devices together.
        memory: Bytes on each device.
        collectives: Communication between the devices in a run of it.
        cost: What each device computes.
        time: What that should take.
        computed: Operations of each device's matrix products in its compiled program, and the same
            with what it pads them by; None where the program is not for the hardware.
        kernels: Calls of kernels that are not the compiler's own, by name.
        compiler: That of the hardware, which made the program; None where CPUs stood in.
        model_flops: Each device's share of the operations that the model has to do.
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
    model_flops: float = 0.0

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


def plan_mesh(
    planned: Planned,
    mesh: Mesh,
    shardings: Any,
    hardware: Hardware,
    *,
    batch_size: int | None = None,
    compiler: str | None = None,
) -> MeshPlan:
    """Partition a program for a mesh, compile it, and read what it takes.

    The devices need not be there. They may be described for their own compiler, see
    `cdcd_jax.planning.topology`, or as many CPU devices stand in for them: how XLA lays out the
    buffers of a program for CPUs approximates what it does for others.

    Args:
        planned: The training step or sampler.
        mesh: From ``make_mesh``.
        shardings: Where its arrays live, from ``planned.shardings``.
        hardware: What the time is predicted for.
        batch_size: Examples in a batch; as configured if None.
        compiler: What compiles for the devices of the mesh; None if they are CPUs.

    Returns:
        The plan.
    """
    batch_size = planned.batch_size if batch_size is None else batch_size
    lowered, held = planned.lower(mesh, shardings, batch_size)
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    try:
        # What cannot run here cannot be read back from the cache of compiled programs either.
        jax.config.update("jax_enable_compilation_cache", cached and compiler is None)
        compiled = lowered.compile(compiler_options=None if compiler else _UNRUN)
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    program = Program(compiled.as_text() or "")
    collectives = read_collectives(program, mesh.size)
    # A device computes with whole parameters on its own rows; those along "tensor" share the work.
    shards = num_batch_shards(mesh)
    local = planned.cost(round_up(batch_size, shards) // shards)
    cost, computed = local.times(1 / mesh.shape["tensor"]), None
    if compiler:
        products = read_products(program)
        computed = sum(p.flops for p in products), sum(p.padded(hardware.tile) for p in products)
        cost = dataclasses.replace(cost, flops=max(cost.flops, computed[1]))
    return MeshPlan(
        mesh=dict(mesh.shape),
        batch_size=batch_size,
        memory=_memory(held, compiled.memory_analysis(), padded=compiler is not None),
        collectives=collectives,
        cost=cost,
        time=predict_step(cost, collectives, hardware),
        computed=computed,
        kernels=count_kernels(program) if compiler else {},
        compiler=compiler,
        model_flops=planned.cost(batch_size, saving=False).flops / mesh.size,
    )


def _memory(held: Mapping[str, int], sizes: Any, *, padded: bool) -> Memory:
    allocated = sizes.temp_size_in_bytes
    if padded:  # what is returned and does not take the place of an argument
        allocated += sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    # A step that has an optimizer has gradients.
    gradients = min(held["parameters"], allocated) if "optimizer" in held else 0
    memory = Memory(**held, gradients=gradients, temporaries=allocated - gradients)
    padding = sizes.argument_size_in_bytes - (memory.total - allocated) if padded else 0
    return memory._replace(padding=max(padding, 0))
