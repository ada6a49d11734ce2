"""The largest memory that a piece of work takes, beyond what was in use before it."""

from pathlib import Path

LIMIT = 300 * 10**6
"""Bytes within which every hostile file must be refused."""


def forget_peak() -> int:
    """Begin to measure anew.

    Returns:
        Bytes in use now, for ``bytes_since``.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return _read("VmRSS")


def bytes_since(before: int) -> int:
    """Return the most bytes that were in use at once since ``forget_peak``, beyond those before."""
    return max(0, _read("VmHWM") - before)


def _read(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")
