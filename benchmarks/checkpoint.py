"""Time saving and restoring a training state of a given size, split over devices or not.

    python -m benchmarks.checkpoint --megabytes 400 --devices 4

The state has parameters, their average and AdamW's two moments, as in training, and is saved the
way training saves it, checksums included.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.timing import describe_environment, write_json
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.training.checkpoints.manager import Checkpoints, RunProgress
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import TrainState, abstract_state, compute_state, init_state

WIDTH = 512
COPIES = 4
"""Parameters, average, and AdamW's two moments."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoint",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--megabytes", type=int, default=400, help="size of the whole state")
    parser.add_argument("--devices", type=int, default=1, help="on a CPU: devices to split it over")
    parser.add_argument("--rounds", type=int, default=3, help="saves and restores; one more first")
    parser.add_argument("--folder", help="where to write; a temporary folder by default")
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    if options.devices > 1:
        jax.config.update("jax_num_cpu_devices", options.devices)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        row = measure(Path(folder), megabytes=options.megabytes, rounds=options.rounds)
    print(
        f"{row['megabytes']:.0f} MB on {row['devices']} devices: the loop waits "
        f"{row['blocking_s']:.2f} s; saved in {row['save_s']:.2f} s ({row['save_mb_per_s']:.0f} "
        f"MB/s), restored in {row['restore_s']:.2f} s ({row['restore_mb_per_s']:.0f} MB/s)"
    )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": [row]}
        write_json(options.json, report)


def measure(folder: Path, *, megabytes: int, rounds: int) -> dict[str, Any]:
    """Save and restore some times; return the medians."""
    mesh = make_mesh(fsdp=jax.device_count())
    layers = max(1, round(megabytes * 1e6 / (4 * COPIES * WIDTH * WIDTH)))

    def init() -> TrainState:
        def init_params(key: jax.Array) -> dict[str, jax.Array]:
            return {"blocks": jax.random.normal(key, (layers, WIDTH, WIDTH))}

        return init_state(
            jax.random.key(0), init_params, make_optimizer(lr=1e-3, num_steps=10), None
        )

    def place(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        split = leaf.ndim == 3
        return NamedSharding(mesh, PartitionSpec(None, "fsdp") if split else PartitionSpec())

    shardings = jax.tree.map(place, jax.eval_shape(init))
    state = compute_state(init, shardings)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params)) * COPIES
    template = abstract_state(init, shardings)
    times = []
    with Checkpoints(folder, compatibility={}, keep=1) as saved:
        saved.restore(template)
        for step in range(1, rounds + 2):
            state = replace(state, step=jax.device_put(jnp.int32(step), shardings.step))
            jax.block_until_ready(state)
            start = time.perf_counter()
            saved.save(state, RunProgress(None, 0.0), loss=1.0)
            blocked = time.perf_counter()
            saved.wait()
            written = time.perf_counter()
            found = saved.restore(template)
            assert found is not None
            jax.block_until_ready(found[0])
            times.append((blocked - start, written - start, time.perf_counter() - written))
    blocking, save, restore = np.median(times[1:], axis=0)  # the first compiles the checksums
    return {
        "name": "checkpoint",
        "megabytes": size / 1e6,
        "devices": jax.device_count(),
        "blocking_s": float(blocking),
        "save_s": float(save),
        "restore_s": float(restore),
        "save_mb_per_s": size / 1e6 / float(save),
        "restore_mb_per_s": size / 1e6 / float(restore),
    }


if __name__ == "__main__":
    main()
