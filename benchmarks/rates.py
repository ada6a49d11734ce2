"""How much a second, and what share of the device's peak."""

from collections.abc import Mapping
from typing import Any

import jax

from cdcd_jax.planning.hardware import HARDWARE


def add_rates(
    rows: list[dict[str, Any]],
    products: Mapping[str, float],
    *,
    examples: int,
    seconds: float | None = None,
) -> None:
    """Add to each row how much it does in a second, and how well it uses the device.

    ``peak_in_use_mb`` is of the process, so of a row only where it is alone beside ``matmul``.

    Args:
        rows: From ``make_rows``.
        products: Operations of the matrix products of a call, by row; nothing counted twice.
        examples: Examples of a call.
        seconds: Of music that each of them holds.
    """
    peak = peak_flops(jax.devices()[0].device_kind)
    rates = {row["name"]: products[row["name"]] / row["median_ms"] * 1e3 for row in rows}
    memory = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    for row in rows:
        name = row["name"]
        row["peak_in_use_mb"] = "not measured" if memory is None else memory / 1e6
        row["model_flops"] = products[name]
        row["mfu"] = "not measured" if peak is None else rates[name] / peak
        if "matmul" in rates:
            row["share_of_matmul"] = rates[name] / rates["matmul"]
        if name != "matmul":
            row["examples_per_s"] = examples / row["median_ms"] * 1e3
            if seconds:
                row["music_seconds_per_s"] = seconds * row["examples_per_s"]


def peak_flops(device_kind: str) -> float | None:
    """Look up the operations a second of a device's data sheet, in bfloat16; None if unknown.

    >>> peak_flops("NVIDIA H200") == peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    True
    >>> peak_flops("cpu") is None
    True
    """
    words = device_kind.lower().replace("-", " ").replace(" lite", "e").split()
    for name, hardware in HARDWARE.items():
        if all(part in words for part in name.split("-")):
            return hardware.peak
    return None
