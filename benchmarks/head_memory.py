"""XLA's planned memory of head and loss at once against a few positions at a time.

The size is COCO's, from ``configs/coco.py``: 32x32 tokens of K=2887, conditioned on 77 features of
CLIP. Nothing is run at that size, only compiled. A second part times whole steps at a small size.

    python -m benchmarks.head_memory --batch 4 16 --positions 256 128 --json FILE
"""

import argparse
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import (
    cost_of,
    describe_environment,
    median_ratio,
    time_interleaved,
    write_json,
)
from cdcd_jax import Contrast, init_timestep_stats, make_loss, mask_replace_schedule
from cdcd_jax.models.functional import Network, make_denoiser
from cdcd_jax.training.model import Model
from cdcd_jax.training.objective import make_objective
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import init_state
from cdcd_jax.training.step import make_train_step
from configs import coco

NUM_CODES, COND = 2887, (77, 512)
SMALL = {"num_layers": 2, "width": 64, "num_heads": 4, "mlp": "linear", "compute_dtype": "float32"}


def main():
    options = parse_arguments()
    config = coco.get_config()
    full = {"num_steps": config.schedule.num_steps, "vocab_size": NUM_CODES, "grid": (32, 32)}
    full |= config.denoiser.to_dict()
    rows = []
    for batch in options.batch:
        for mechanism in options.mechanisms:
            for part, plan in (("head and loss", plan_head), ("whole step", plan_step)):
                plain = plan(full, batch, mechanism, None)
                for positions in options.positions:
                    chunked = plan(full, batch, mechanism, positions)
                    row = {
                        "part": part, "mechanism": mechanism, "batch": batch,
                        "positions_per_pass": positions, "plain": plain, "chunked": chunked,
                    }  # fmt: skip
                    for kind in plain:
                        row[f"ratio_{kind}"] = chunked[kind] / plain[kind]
                    rows.append(row)
                    print(
                        f"{part:<14}{mechanism:<9}batch {batch:<4}positions {positions:<5}"
                        f"peak {plain['peak_mb']:.0f} -> {chunked['peak_mb']:.0f} MB, "
                        f"{row['ratio_peak_mb']:.3f}x",
                        flush=True,
                    )
    report = {"environment": describe_environment(), "options": vars(options), "planned": rows}
    if options.rounds:
        report["timed"] = time_steps(options)
        print(report["timed"])
    if options.json:
        write_json(options.json, report)


def plan_head(
    shape: dict[str, Any], batch: int, mechanism: str, positions: int | None
) -> dict[str, float]:
    """Plan value and gradient of head and loss, for given hidden features."""
    schedule = mask_replace_schedule(num_steps=shape["num_steps"], vocab_size=shape["vocab_size"])
    network = make_network(shape)
    length = math.prod(shape["grid"])
    contrast = None if mechanism == "none" else Contrast("sample")
    loss = make_loss(schedule, contrast=contrast, positions_per_pass=positions)

    def value(head: Any, hidden: jax.Array, key: jax.Array, z0: jax.Array, negatives: Any) -> Any:
        # The head needs no other parameters, and XLA leaves these zeros out.
        params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), whole) | head
        return loss(
            key,
            lambda zt, t, cond: hidden,
            z0,
            None,
            negatives=negatives,
            head_fn=partial(network.head, params),
        )[0].loss

    tokens = jax.ShapeDtypeStruct((batch, length), "int32")
    whole = jax.eval_shape(network.init, jax.random.key(0))
    arguments = (
        {name: whole[name] for name in ("final_norm", "to_logits")},
        jax.ShapeDtypeStruct((batch, length, shape["width"]), shape["compute_dtype"]),
        jax.eval_shape(lambda: jax.random.key(0)),
        tokens,
        None if contrast is None else jax.ShapeDtypeStruct((batch, 10, length), "int32"),
    )
    return measure(jax.jit(jax.value_and_grad(value, argnums=(0, 1))).lower(*arguments))


def plan_step(
    shape: dict[str, Any], batch: int, mechanism: str, positions: int | None
) -> dict[str, float]:
    """Plan a whole training step."""
    step, fresh, rows = make_step(shape, batch, mechanism, positions)
    return measure(step.lower(jax.eval_shape(fresh), rows))


def make_step(shape: dict[str, Any], batch: int, mechanism: str, positions: int | None) -> Any:
    """Return a step, what makes its state, and the form of its batch."""
    schedule = mask_replace_schedule(num_steps=shape["num_steps"], vocab_size=shape["vocab_size"])
    network = make_network(shape)
    model = Model(network.init, network.logits, hidden=network.hidden, head=network.head)
    objective = make_objective(
        schedule, model, grid=shape["grid"], mechanism=mechanism, positions_per_pass=positions
    )
    optimizer = make_optimizer(lr=2e-4, num_steps=1000)
    stats = init_timestep_stats(shape["num_steps"])

    def fresh() -> Any:
        return init_state(jax.random.key(0), network.init, optimizer, stats)

    length = math.prod(shape["grid"])
    rows = {
        "tokens": jax.ShapeDtypeStruct((batch, length), "int32"),
        "cond": jax.ShapeDtypeStruct((batch, *COND), "float32"),
    }
    if mechanism != "none":
        rows["negatives"] = jax.ShapeDtypeStruct((batch, 10, length), "int32")
    step = make_train_step(objective, optimizer, max_skipped=5)
    return jax.jit(step, donate_argnums=0), fresh, rows


def make_network(shape: dict[str, Any]) -> Network:
    return make_denoiser(condition="cross", cond_dim=COND[1], **shape)


def measure(lowered: Any) -> dict[str, float]:
    """Compile and read off the plan: all buffers, and temporaries alone, in MB."""
    compiled = lowered.compile()
    memory: Any = compiled.memory_analysis()
    return {"peak_mb": cost_of(compiled).peak_mb, "temporaries_mb": memory.temp_size_in_bytes / 1e6}


def time_steps(options: argparse.Namespace) -> dict[str, Any]:
    """Time the step plain and chunked, at a size that a laptop runs."""
    shape = {"num_steps": 80, "vocab_size": NUM_CODES, "grid": (16, 16), **SMALL}
    calls = {}
    for positions in (None, 64, 32):
        calls[str(positions)] = make_call(*make_step(shape, 4, "none", positions))
    times = time_interleaved(calls, rounds=options.rounds)
    ratios = {name: median_ratio(times, name, "None") for name in times if name != "None"}
    return {"shape": shape, "batch": 4, "ratio_to_plain": ratios}


def make_call(step: Any, fresh: Any, rows: Any) -> Any:
    """Return a function that takes a step on made-up arrays, each time from where it is."""
    state, batch = fresh(), jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), rows)

    def call() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return call


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.head_memory",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 16], help="examples")
    parser.add_argument(
        "--positions", type=int, nargs="+", default=[256, 128], help="positions per pass"
    )
    parser.add_argument(
        "--mechanisms", nargs="+", default=["none", "sample"], choices=("none", "sample"),
        help="contrastive mechanism",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of the timing; 0 for none")
    parser.add_argument("--json", help="file for the measurements")
    return parser.parse_args()


if __name__ == "__main__":
    main()
