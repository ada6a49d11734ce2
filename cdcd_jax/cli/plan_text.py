"""The report of ``--mode=plan``."""

from collections.abc import Sequence

from cdcd_jax.experiment.plan import PlannedRun
from cdcd_jax.planning.hardware import EFFICIENCY, FAR_LATENCY, LATENCY, Hardware
from cdcd_jax.planning.mesh_plan import MeshPlan
from cdcd_jax.planning.planned import PlannedSampler

LEAST_EFFICIENCY = 0.5
"""Throughput per device, as a share of the first row's, below which more devices do not pay."""

_STAND_IN = (
    "temporaries as XLA lays them out for CPUs, without fused attention: an approximation of what "
    "it does elsewhere, usually more; --topology takes the compiler of the hardware"
)

_REDUCED = (
    "  (for CPUs XLA reduces a gradient whole and keeps a part; elsewhere a reduce-scatter "
    "sends half)"
)

_REASONS = {
    "products": "matrix products",
    "traffic": "reading and writing memory",
    "near": "collectives inside a node",
    "far": "collectives between nodes",
}


def describe_model(run: PlannedRun) -> str:
    """Describe the size of the model and the FLOPs of a step, or of the samples of a batch."""
    planned = run.planned
    counts, size = planned.count_parameters(), planned.batch_size
    total = sum(counts.values())
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    model = planned.cost(size, saving=False).flops
    lines = [f"Model: {total:,} parameters ({parts}); {run.example}"]
    each = f"{_scaled(model / size)}FLOP per example"
    if isinstance(planned, PlannedSampler):
        options = (f"{name} {value}" for name, value in planned.options.items() if value)
        lines += [
            f"Sampling: {', '.join(options)}",
            f"FLOPs of the model: {_scaled(model)}FLOP for {size} examples, {each}",
        ]
    else:
        lines += [
            f"FLOPs of the model: {_scaled(model)}FLOP per step of {size} examples, {each}; "
            f"{_scaled(planned.cost(size).flops)}FLOP per step with what is computed again to save "
            "memory"
        ]
    return "\n".join(lines if run.dtype == "bfloat16" else [*lines, _slow(run.dtype)])


def describe_mesh_plan(
    plan: MeshPlan, hardware: Hardware, program: str = "train", length: int | None = None
) -> str:
    """Describe a program on one mesh: memory, collectives and time.

    Args:
        plan: From ``plan_mesh``.
        hardware: What it is for.
        program: What it is, of ``PROGRAMS``.
        length: Tokens of an example, if it is made of tokens.
    """
    trained = program != "sample"
    what = "step" if trained else "batch"
    sizes = " x ".join(f"{name} {size}" for name, size in plan.mesh.items())
    memory, time = plan.memory, plan.time
    share = memory.total / hardware.memory
    verdict = "fits" if share <= 1 else "does not fit"
    lines = [
        f"Mesh: {plan.num_devices} x {hardware.title} ({sizes}), batch of {plan.batch_size}",
        "Bytes per device:",
        *(f"  {name:<14}{_scaled(size)}B" for name, size in memory._asdict().items() if size),
        f"  {'total':<14}{_scaled(memory.total)}B: {verdict} in {_scaled(hardware.memory)}B "
        f"of one {hardware.title}: {share:.0%}",
        f"  ({_STAND_IN if plan.compiler is None else f'as {plan.compiler} lays them out'})",
        *_describe_program(plan),
        f"Collectives per {what}:",
        *(
            f"  {kind:<20}{count:>7} times, {_scaled(sent)}B sent by each device"
            for kind, (count, sent) in plan.collected().items()
        ),
        *(["  none"] if not plan.collectives else []),
        *([_REDUCED] if trained and plan.mesh["fsdp"] > 1 and plan.compiler is None else []),
        f"{what.capitalize()} time: {_seconds(time.overlapped)} if collectives hide behind "
        f"computation, {_seconds(time.apart)} if they do not",
        f"  matrix products   {_seconds(time.products)} at {EFFICIENCY:.0%} of "
        f"{_scaled(hardware.peak)}FLOP/s, which is assumed",
        f"  memory            {_seconds(time.traffic)} at {_scaled(hardware.bandwidth)}B/s, "
        "at least",
        f"  inside a node     {_seconds(time.near)} at {_scaled(hardware.near)}B/s and "
        f"{_seconds(LATENCY)} a collective",
        f"  between nodes     {_seconds(time.far)} at {_scaled(hardware.far)}B/s and "
        f"{_seconds(FAR_LATENCY)} a collective",
        f"Throughput: {_describe_rate(plan, length)}; an estimate, bounded by "
        f"{_REASONS[time.bound]}",
    ]
    return "\n".join(lines)


def _describe_rate(plan: MeshPlan, length: int | None) -> str:
    rate = f"{plan.throughput:,.1f} examples/s"
    return rate if length is None else f"{rate}, {plan.throughput * length:,.0f} tokens/s"


def _describe_program(plan: MeshPlan) -> list[str]:
    """Describe what only the compiler of the hardware knows."""
    if plan.computed is None:
        return []
    computed, padded = plan.computed
    kernels = ", ".join(f"{name} {count}" for name, count in plan.kernels.items()) or "none"
    return [
        f"Matrix products of each device: {_scaled(computed)}FLOP in the program, "
        f"{_scaled(padded)}FLOP with what the matrix unit pads them by, which is "
        f"{padded / plan.model_flops:.2f} times the model's share",
        f"Kernels that are not the compiler's own: {kernels}",
    ]


def describe_table(rows: Sequence[MeshPlan], batch_size: int) -> str:
    """Compare numbers of devices, and say where more of them stop paying.

    Throughput and efficiency are those without any overlap, so a lower bound of the model's.
    """
    if not rows:
        return "No number of devices of the table fits the mesh."
    lines = [
        "devices  batch   sent/device     memory    step, overlapped   step, apart   examples/s"
        "   efficiency"
    ]
    for row in rows:
        sent = sum(sent for _, sent in row.collected().values())
        lines.append(
            f"{row.num_devices:>7}  {row.batch_size:>5}  {_scaled(sent) + 'B':>12} "
            f"{_scaled(row.memory.total) + 'B':>10} {_seconds(row.time.overlapped):>19} "
            f"{_seconds(row.time.apart):>13} {row.throughput:>12,.0f} "
            f"{find_efficiency(row, rows):>11.0%}"
        )
    return "\n".join([*lines, find_limit(rows, batch_size)])


def _slow(dtype: str) -> str:
    return (
        f"compute_dtype is {dtype}: products take longer than predicted below, where the peak is "
        "that of bfloat16"
    )


def find_efficiency(row: MeshPlan, rows: Sequence[MeshPlan]) -> float:
    """Return the throughput per device, relative to that of the fewest devices."""
    first = rows[0]
    return (row.throughput / row.num_devices) / (first.throughput / first.num_devices)


def find_limit(rows: Sequence[MeshPlan], batch_size: int) -> str:
    """Explain in a sentence or two where scaling stops, and why."""
    fixed = [row for row in rows if row.batch_size == batch_size]
    sentences = []
    most = fixed[-1].num_devices if fixed else 0
    if most and most < rows[-1].num_devices:
        sentences.append(
            f"At a batch of {batch_size}, {most} devices are the most that have examples to work "
            "on; in the rows below, the batch grows with them."
        )
    bad = [row for row in rows if find_efficiency(row, rows) < LEAST_EFFICIENCY]
    if not bad:
        sentences.append(
            f"Every row keeps {LEAST_EFFICIENCY:.0%} of the first row's throughput per device."
        )
        return " ".join(sentences)
    stop = bad[0]
    reason = stop.time.bound
    sentences.append(
        f"Scaling stops paying at {stop.num_devices} devices, where "
        f"{find_efficiency(stop, rows):.0%} of the throughput per device is left: most of the time "
        f"goes to {_REASONS[reason]}, {_seconds(getattr(stop.time, reason))} beside "
        f"{_seconds(stop.time.products)} of matrix products."
    )
    return " ".join(sentences)


def _scaled(number: float | int) -> str:
    """Write a number with three digits and the prefix of its thousands, ready for a unit."""
    prefixes = ["", "k", "M", "G", "T", "P"]
    while abs(number) >= 999.5 and len(prefixes) > 1:
        number /= 1000
        del prefixes[0]
    return f"{number:.3g} {prefixes[0]}"


def _seconds(time: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if time * factor >= 1:
            return f"{time * factor:.3g} {unit}"
    return f"{time * 1e6:.3g} us"
