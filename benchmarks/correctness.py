"""Compare training steps that must agree: fused attention with plain, bfloat16 with float32.

    python -m benchmarks.correctness --preset imagenet --updates 10 --json FILE

Each takes the same updates from the same weights, on the same batch and noise.
"""

import argparse
import sys
from typing import Any

import jax
import numpy as np

from benchmarks.options import PRESETS, add_sizes, positive
from benchmarks.timing import describe_environment, write_json
from benchmarks.train_step import make_network, training_arguments, training_step
from cdcd_jax.planning.products import count_kernels
from cdcd_jax.planning.program import Program

ATTENTION_LIMIT, PRECISION_LIMIT = 0.02, 0.05
"""The largest relative differences of a loss: of two orders of sums in bfloat16, whose mantissa has
8 bits, and of bfloat16 itself."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.correctness")
    add_sizes(parser)
    parser.add_argument("--updates", type=positive, default=10, help="updates that are compared")
    parser.add_argument("--preset", choices=list(PRESETS), help="sizes of a published model")
    parser.add_argument("--json", help="file for the comparisons")
    parser.set_defaults(**PRESETS.get(parser.parse_known_args()[0].preset, {}))
    options = parser.parse_args()
    fused, plain, exact = (
        run_updates(options, dtype, attention)
        for dtype, attention in (
            ("bfloat16", "auto"),
            ("bfloat16", "plain"),
            ("float32", "plain"),
        )
    )
    rows = [
        compare("fused attention to plain", fused, plain, ATTENTION_LIMIT),
        compare("bfloat16 to float32", fused, exact, PRECISION_LIMIT),
    ]
    for row in rows:
        print(
            f"{row['name']}: loss {row['loss']:.2e}, gradient {row['grad_norm']:.2e}, at most "
            f"{row['limit']}; kernels {row['kernels'] or 'none'}"
        )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)
    if wrong := [row["name"] for row in rows if not row["agrees"]]:
        sys.exit(f"Error: {', '.join(wrong)} differ by more than the limit; see above")


def run_updates(options: argparse.Namespace, dtype: str, attention: str) -> dict[str, Any]:
    """Take some updates; return each one's loss and gradient's norm, and the kernels called."""
    print(f"compiling {dtype}, attention {attention}", flush=True)
    network = make_network(
        argparse.Namespace(**{**vars(options), "dtype": dtype, "attention": attention}),
        options.unroll,
    )
    state, batch = training_arguments(network, None, options)
    step = training_step(network, None, options).lower(state, batch).compile()
    found = []
    for _ in range(options.updates):
        state, metrics = step(state, batch)
        found.append([metrics["loss"], metrics["grad_norm"]])
    losses, norms = np.array(jax.device_get(found), np.float64).T
    kernels = count_kernels(Program(step.as_text()))
    return {"loss": losses, "grad_norm": norms, "kernels": kernels}


def compare(name: str, one: dict[str, Any], other: dict[str, Any], limit: float) -> dict[str, Any]:
    """Return the largest relative differences over the updates, and whether losses agree."""
    row: dict[str, Any] = {"name": name, "limit": limit, "kernels": one["kernels"]}
    for key in ("loss", "grad_norm"):
        row[key] = float(np.max(np.abs(one[key] - other[key]) / np.abs(other[key])))
    return row | {"agrees": row["loss"] <= limit}  # so that no number agrees with none


if __name__ == "__main__":
    main()
