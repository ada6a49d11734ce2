"""Time compiled functions side by side, and ask XLA what they cost."""

import datetime
import importlib.metadata
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np


class Cost(NamedTuple):
    """What XLA says a compiled function needs.

    Attributes:
        peak_mb: Buffers of arguments, results and temporaries in MB (1e6 bytes), donated arguments
            counted once. This is the plan of the compiled program, not the process's memory.
        flops: Floating-point operations.
        bytes: Bytes read and written by all operations after fusion.
    """

    peak_mb: float
    flops: float
    bytes: float


def cost_of(compiled: jax.stages.Compiled, counted: jax.stages.Compiled | None = None) -> Cost:
    """Read memory off one executable and operations off another.

    Args:
        compiled: What is timed.
        counted: The same function without loops, because XLA counts a loop's body once.
    """
    memory: Any = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes
    used += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    analysis = (counted or compiled).cost_analysis() or {}
    return Cost(used / 1e6, analysis.get("flops", 0.0), analysis.get("bytes accessed", 0.0))


def time_interleaved(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, seconds_per_turn: float = 0.5
) -> dict[str, np.ndarray]:
    """Time several functions in turn, so that what disturbs the machine disturbs all of them alike.

    Each round takes every function once, starting at another one: first a call that is not counted,
    which brings its data back to the caches, then calls until about ``seconds_per_turn`` are over.

    Args:
        calls: Functions by name; the result is waited for.
        rounds: Number of rounds.
        seconds_per_turn: How long a function's turn lasts, unless one call takes longer.

    Returns:
        Seconds a call and processor seconds a call (of all threads, so that other programs hardly
        count), by name: [rounds calls 2].
    """
    repeats = {}
    for name, call in calls.items():
        jax.block_until_ready(call())
        once = _seconds(call)[0]
        repeats[name] = int(np.clip(seconds_per_turn / once, 1, 50))
    names = list(calls)
    times: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            jax.block_until_ready(calls[name]())
            times[name].append([_seconds(calls[name]) for _ in range(repeats[name])])
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return {name: np.array(rows) for name, rows in times.items()}


def make_rows(times: Mapping[str, np.ndarray], costs: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """Put times and costs together, one dict for each function."""
    return [
        {
            "name": name,
            "median_ms": 1e3 * float(np.median(seconds[..., 0])),
            "min_ms": 1e3 * float(np.min(seconds[..., 0])),
            "cpu_ms": 1e3 * float(np.median(seconds[..., 1])),
            **costs[name]._asdict(),
        }
        for name, seconds in times.items()
    ]


def median_ratio(times: Mapping[str, np.ndarray], name: str, to: str) -> float:
    """Compare two functions round by round: the median of the ratios of their medians."""
    one, other = (np.median(times[key][..., 0], axis=1) for key in (name, to))
    return float(np.median(one / other))


def describe_environment() -> dict[str, Any]:
    """Say where and how a measurement was taken."""
    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "python": sys.version.split()[0],
        "platform": device.platform,
        "device": device.device_kind,
        "device_count": jax.device_count(),
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(
            ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
        ),
    }


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write a report, making its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def format_markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format cells as a table of Markdown.

    >>> print(format_markdown(["name", "ms"], [["matmul", "10"]]))
    | name | ms |
    |---|---|
    | matmul | 10 |
    """
    lines = ["".join(["|", *(f" {cell} |" if cell else " |" for cell in x)]) for x in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    start, start_cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return time.perf_counter() - start, time.process_time() - start_cpu
