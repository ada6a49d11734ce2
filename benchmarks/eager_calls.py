"""Time the first and later calls of sampler, bound and loss, without ``jax.jit`` and with it.

    python -m benchmarks.eager_calls --width 96 --length 64 --vocab 17 --steps 10 --batch 8

A call without ``jax.jit`` has to compile in its first call only.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from benchmarks.options import SETTINGS, add_sizes
from benchmarks.timing import describe_environment, write_json
from benchmarks.train_step import draw_weights, make_batch, make_network
from cdcd_jax import evaluate_bound, make_loss, mask_replace_schedule, sample

CALLS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eager_calls",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_sizes(parser)
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    rows = []
    for name, function in make_functions(options).items():
        for how, call in (("eager", function), ("jit", jax.jit(function))):
            seconds = [measure(call, seed) for seed in range(CALLS)]
            row = {"name": name, "how": how, "first_s": seconds[0], "later_s": min(seconds[1:])}
            rows.append(row)
            print(
                f"{name:<7} {how:<5} first {row['first_s']:7.2f} s, later {row['later_s']:7.4f} s"
            )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


def make_functions(options: argparse.Namespace) -> dict[str, Callable[[jax.Array], Any]]:
    """Return sampler, bound and contrastive loss as functions of a key."""
    schedule = mask_replace_schedule(num_steps=options.steps, vocab_size=options.vocab)
    network = make_network(options, options.unroll)
    denoise_fn = partial(network.logits, draw_weights(network))
    batch = make_batch(options, with_negatives=True)
    z0, cond, negatives = batch["tokens"], batch["cond"], batch["negatives"]
    loss = make_loss(schedule, contrast=SETTINGS["step_parallel"])
    shape = (options.batch, options.length)
    return {
        "sample": lambda key: sample(key, schedule, denoise_fn, cond, shape=shape, truncation=0.86),
        "bound": lambda key: evaluate_bound(key, schedule, denoise_fn, z0, cond),
        "loss": lambda key: loss(key, denoise_fn, z0, cond, negatives=negatives),
    }


def measure(call: Callable[[jax.Array], Any], seed: int) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(jax.random.key(seed)))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
