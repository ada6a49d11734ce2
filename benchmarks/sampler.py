"""Time each sampler beside ancestral sampling at the same number of calls of the network.

    python -m benchmarks.sampler --length 256 --vocab 1024 --steps 80 --calls 20

Also the cost of truncation and of correctors, and how often a sweep of traced numbers compiles.
"""

import argparse
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.options import add_sizes, positive
from benchmarks.timing import describe_environment, median_ratio, time_interleaved, write_json
from benchmarks.train_step import draw_weights, make_batch, make_network
from cdcd_jax import mask_replace_schedule, sample, samplers

SWEEP = np.linspace(0.05, 1.0, 20)
"""Values of each number that may be traced."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampler",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_sizes(parser)
    parser.add_argument("--calls", type=positive, default=10, help="of the network in a sample")
    parser.add_argument("--rounds", type=positive, default=4, help="turns of every sampler")
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    settings = make_settings(options.length)
    run = make_run(options)
    calls = {name: partial(run, jax.random.key(0), **given) for name, given in settings.items()}
    times = time_interleaved(calls, rounds=options.rounds)
    compilations = count_compilations(options)
    rows = []
    for name, seconds in times.items():
        row = {
            "name": name,
            "ms_per_sample": 1e3 * float(np.median(seconds[..., 0])) / options.batch,
            "ratio_to_ancestral": median_ratio(times, name, "ancestral"),
            "cpu_ratio": float(np.median(seconds[..., 1]) / np.median(times["ancestral"][..., 1])),
            "compilations": compilations[name],
        }
        rows.append(row)
        print(
            f"{name:<24} {row['ms_per_sample']:9.2f} ms a sample, {row['ratio_to_ancestral']:5.2f} "
            f"of ancestral ({row['cpu_ratio']:.2f} of its processor time), "
            f"{row['compilations']} new programs in a sweep of {len(SWEEP)}"
        )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


def make_settings(length: int) -> dict[str, dict[str, Any]]:
    """Return what is timed: rules, filters and correctors with their options."""
    plain = {"sampler": samplers.Ancestral(), "corrector": None, "truncation": 1.0}
    rules = {
        "fast": samplers.Fast(),
        "first_hitting": samplers.FirstHitting(ignore_uniform=True),
        "confidence": samplers.Confidence(),
        "margin": samplers.Margin(),
        "entropy": samplers.Entropy(),
        "halton": samplers.Halton(grid=(1, length)),
        "purity": samplers.Purity(),
        "remask": samplers.Remask(),
        "remask by confidence": samplers.Remask("confidence"),
    }
    correctors = {
        "with renoise": samplers.Renoise(),
        "with gibbs": samplers.Gibbs(8, 4),
        "with self_correction": samplers.SelfCorrection(),
    }
    return {
        "ancestral": plain,
        "truncation 0.86": plain | {"truncation": 0.86},
        **{name: plain | {"sampler": rule} for name, rule in rules.items()},
        **{name: plain | {"corrector": corrector} for name, corrector in correctors.items()},
    }


def make_run(options: argparse.Namespace) -> Any:
    """Return a compiled sampler of a key, a rule, a corrector and a truncation rate."""
    schedule = mask_replace_schedule(num_steps=options.steps, vocab_size=options.vocab)
    network = make_network(options, options.unroll)
    params = draw_weights(network)
    denoise_fn, head_fn = partial(network.hidden, params), partial(network.head, params)
    cond = make_batch(options, with_negatives=False)["cond"]
    shape = (options.batch, options.length)

    @jax.jit
    def run(key: jax.Array, sampler: Any, corrector: Any, truncation: Any) -> Any:
        return sample(
            key, schedule, denoise_fn, cond, shape=shape, num_steps=options.calls, sampler=sampler,
            corrector=corrector, truncation=truncation, head_fn=head_fn,
        )  # fmt: skip

    return run


def count_compilations(options: argparse.Namespace) -> dict[str, int]:
    """Count for each setting how often a sweep over its numbers compiles, of a small network."""
    small = {"layers": 1, "width": 8, "heads": 1, "length": 8, "vocab": 8, "batch": 1, "calls": 2}
    run = make_run(argparse.Namespace(**{**vars(options), **small}))
    found = {}
    for name, given in make_settings(8).items():
        before = run._cache_size()
        for value in SWEEP:
            run(jax.random.key(0), **jax.tree.map(lambda _, value=value: float(value), given))
        found[name] = run._cache_size() - before
    return found


if __name__ == "__main__":
    main()
