"""``--mode=plan``: the cost of training or sampling, and how it scales with devices."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.cli.plan_text import describe_mesh_plan, describe_model, describe_table
from cdcd_jax.experiment.plan import PlannedRun
from cdcd_jax.io import atomic_write
from cdcd_jax.planning.hardware import EFFICIENCY, Hardware
from cdcd_jax.planning.mesh_plan import MeshPlan, plan_mesh
from cdcd_jax.planning.topology import Topology
from cdcd_jax.spacing import round_up

TABLE = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Numbers of devices in the table."""


def simulate_devices(count: int) -> None:
    """Make JAX simulate a number of CPU devices; to be called before JAX starts.

    Args:
        count: Number of devices; those of the table are simulated in any case.

    Raises:
        ValueError: If there are none to plan for, or JAX has started with fewer.
    """
    if count < 1:
        raise ValueError(f"devices = {count} must be at least 1")
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", max(count, *TABLE))
    except RuntimeError:
        pass  # It has started; what it has may be enough.
    if len(jax.devices()) < count:
        raise ValueError(f"devices = {count}, but JAX has started with {len(jax.devices())}")


def plan_run(
    run: PlannedRun,
    hardware: Hardware,
    workdir: Path,
    *,
    devices: int | None = None,
    topology: Topology | None = None,
    table: bool = True,
) -> Path:
    """Print the cost of a program on some devices, and a table of growing numbers of devices.

    In the table the batch stays as configured as long as every device has an example of
    it; beyond that it grows with the devices. ``fsdp`` and ``tensor`` stay, ``data`` takes the
    rest.

    Args:
        run: From ``build_plan``.
        hardware: What it is to run on.
        workdir: Folder of the run, where ``plan.json`` goes.
        devices: Number of devices; None for the number in the section ``mesh``.
        topology: Devices and their own compiler, in place of a number.
        table: Whether to print the table.

    Returns:
        The file with the same as JSON.

    Raises:
        ValueError: If the devices cannot be arranged as configured, or the batch not be divided.
    """
    found = topology.devices if topology else jax.devices()[: devices or run.num_devices]
    compiler = topology.compiler if topology else None
    mesh, shardings = run.arrange(found, data=run.config.mesh.data)
    planned = run.planned
    planned.check_batch_size(mesh)
    print(describe_model(run), flush=True)
    first = _timed(
        len(found), lambda: plan_mesh(planned, mesh, shardings, hardware, compiler=compiler)
    )
    print(describe_mesh_plan(first, hardware, run.program, run.length), flush=True)
    rows, left_out = _fill_table(run, hardware, first) if table else ([], {})
    if rows:
        print(describe_table(rows, planned.batch_size))
    for count, reason in left_out.items():
        print(f"A mesh of {count} is left out: {reason}")
    path = workdir / "plan.json"
    _write(path, run, hardware, first, rows)
    print(f"Plan: {path}")
    return path


def _fill_table(
    run: PlannedRun, hardware: Hardware, first: MeshPlan
) -> tuple[list[MeshPlan], dict[int, str]]:
    """Plan for each number of the table, or say why not."""
    rows, left_out = [], {}
    for count in (count for count in TABLE if count <= len(jax.devices())):
        if count == first.num_devices:
            rows.append(first)
            continue
        try:
            mesh, shardings = run.arrange(jax.devices()[:count])
        except ValueError as error:
            left_out[count] = str(error)
            continue
        size = fitting_batch_size(run, count)
        rows.append(
            _timed(
                count,
                lambda mesh=mesh, shardings=shardings, size=size: plan_mesh(
                    run.planned, mesh, shardings, hardware, batch_size=size
                ),
            )
        )
    return rows, left_out


def fitting_batch_size(run: PlannedRun, num_devices: int) -> int:
    """Return the smallest batch >= the configured one that divides over the devices."""
    unit = num_devices // run.config.mesh.tensor * run.planned.num_microbatches
    return round_up(run.planned.batch_size, unit)


def _timed(devices: int, make: Callable[[], MeshPlan]) -> MeshPlan:
    """Print progress: the compiler takes half a minute for a large step."""
    print(f"compiling for {devices} device{'s' * (devices > 1)} ...", end="", file=sys.stderr)
    sys.stderr.flush()
    started = time.perf_counter()
    plan = make()
    print(f" {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return plan


def _write(
    path: Path, run: PlannedRun, hardware: Hardware, first: MeshPlan, rows: Sequence[MeshPlan]
) -> None:
    planned = run.planned
    model = planned.cost(planned.batch_size, saving=False)
    content = {
        "program": run.program,
        "hardware": hardware._asdict() | {"efficiency": EFFICIENCY},
        "parameters": planned.count_parameters(),
        "model_flops_per_batch": model.flops,
        "model_flops_per_example": model.flops / planned.batch_size,
        "plan": _plain(first),
        "table": [_plain(row) for row in rows],
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _plain(plan: MeshPlan) -> dict[str, Any]:
    time = plan.time
    return {
        "num_devices": plan.num_devices,
        "mesh": plan.mesh,
        "batch_size": plan.batch_size,
        "compiler": plan.compiler,
        "model_flops_per_device": plan.model_flops,
        "products_per_device": dict(zip(("flops", "padded"), plan.computed or (), strict=False)),
        "kernels": dict(plan.kernels),
        "bytes_per_device": plan.memory._asdict() | {"total": plan.memory.total},
        "collectives": {
            kind: {"count": count, "bytes_sent_per_device": sent}
            for kind, (count, sent) in plan.collected().items()
        },
        "flops_per_device": plan.cost.flops,
        "seconds": time._asdict()
        | {"without_overlap": time.apart, "with_overlap": time.overlapped, "bound": time.bound},
    }
