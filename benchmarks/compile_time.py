"""Time tracing, lowering and compiling a training step, with an empty and a warm cache.

    python -m benchmarks.compile_time --layers 12

The blocks are in a scan, compiled once, or unrolled; nothing is computed, so any size fits.
"""

import argparse
import tempfile
import time
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.options import SETTINGS, add_sizes
from benchmarks.timing import describe_environment, write_json
from benchmarks.train_step import make_network, training_arguments, training_step


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_time",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_sizes(parser)
    parser.add_argument("--setting", choices=list(SETTINGS), default="step_parallel")
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    rows = []
    for name, unroll in (("scan", 1), ("unrolled", options.layers)):
        with tempfile.TemporaryDirectory() as folder:
            use_cache(folder)
            for cache in ("empty", "warm"):
                rows.append({"name": name, "cache": cache, **measure(unroll, options)})
                print(
                    f"{name:<9} {cache:<6} cache: trace {rows[-1]['trace_s']:6.2f} s, lower "
                    f"{rows[-1]['lower_s']:6.2f} s, compile {rows[-1]['compile_s']:6.2f} s"
                )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


def use_cache(folder: str) -> None:
    """Keep whatever is compiled in a folder."""
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # which else keeps to the folder it knows


def measure(unroll: int, options: argparse.Namespace) -> dict[str, Any]:
    """Compile as a new process would: what this one knows is forgotten first."""
    jax.clear_caches()
    contrast = SETTINGS[options.setting]
    network = make_network(options, unroll)
    step = training_step(network, contrast, options)
    arguments = jax.eval_shape(lambda: training_arguments(network, contrast, options))
    times = [time.perf_counter()]
    traced = step.trace(*arguments)
    times.append(time.perf_counter())
    lowered = traced.lower()
    times.append(time.perf_counter())
    lowered.compile()
    times.append(time.perf_counter())
    names = ("trace_s", "lower_s", "compile_s")
    return {name: end - start for name, start, end in zip(names, times, times[1:], strict=False)}


if __name__ == "__main__":
    main()
