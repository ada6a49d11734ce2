"""Start times of the windows of dances: evenly spaced, or from a list."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.pieces import piece_name
from cdcd_jax.reading.regular import read_text

MAX_PADDING = 128
"""Samples by which a dance may be too short for its last window, which then ends with silence: one
token of the published music codec. Pieces cut to two seconds often lack a few samples."""

SLACK = MAX_PADDING / SAMPLE_RATE


def number_windows(
    lengths: Float[np.ndarray, " dances"],
    wanted: list[tuple[int, float | None]],
    seconds: float,
    stride: float,
    rest: float | None,
) -> tuple[list[tuple[int, float]], int]:
    """Find where the windows of some dances begin.

    Args:
        lengths: Of all dances, in seconds.
        wanted: Number of a dance, and where its window begins or None for all of its windows.
        seconds: Length of a window.
        stride: From the beginning of one window to that of the next.
        rest: See ``Segments``.

    Returns:
        Dance and start of each window, and how many dances have none.

    >>> number_windows(np.array([8.0, 5.0, 7.4]), [(0, None), (1, None), (2, None)], 6.0, 6.0, 1.9)
    ([(0, 0.0), (0, 2.0), (2, 0.0)], 1)
    """
    windows, num_skipped = [], 0
    for number, start in wanted:
        if start is not None:
            windows.append((number, start))
            continue
        count = int(np.floor((lengths[number] + SLACK - seconds) / stride)) + 1
        num_skipped += count < 1
        starts = [position * stride for position in range(max(0, count))]
        if rest is not None and starts and lengths[number] - starts[-1] - seconds >= rest:
            # In whole hundredths, as the start is in the window's name.
            starts.append(float(np.floor(100 * (lengths[number] - seconds)) / 100))
        windows += [(number, start) for start in starts]
    return windows, num_skipped


def read_windows(path: Path, dances: Dances, seconds: float) -> list[tuple[int, float | None]]:
    """Read which windows of some dances are wanted.

    Args:
        path: Lines as ``Segments`` describes them, or paths as in the published lists of pieces.
        dances: The dances.
        seconds: Length of a window.

    Returns:
        Number of a dance, and where its window begins or None for all of its windows.

    Raises:
        ValueError: If a line names what is not there; the sentence names the line.
    """
    numbers = {name: number for number, name in enumerate(dances.names)}
    wanted: list[tuple[int, float | None]] = []
    for line_number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        where = f"{path}, line {line_number}"
        if fields[0] not in numbers:  # a path, as the published lists of pieces have
            fields[0] = piece_name(fields[0])
        if fields[0] not in numbers:
            raise ValueError(f"{where}: {dances.name} has no dance {fields[0]}; remove the line")
        number = numbers[fields[0]]
        wanted.append((number, None))
        if len(fields) > 1:
            start = _read_start(fields, where)
            if not 0 <= start <= dances.seconds[number] + SLACK - seconds:
                raise ValueError(
                    f"{where}: a window of {seconds} s from {fields[1]} s is not within the "
                    f"{dances.seconds[number]:.2f} s of {fields[0]}"
                )
            wanted[-1] = (number, start)
    if not wanted:
        raise ValueError(f"{path} lists no window; write a line `name start_seconds` for each")
    return wanted


def _read_start(fields: list[str], where: str) -> float:
    try:
        if len(fields) != 2:
            raise ValueError
        return float(fields[1])
    except ValueError:
        raise ValueError(
            f"{where}: this must be a name and one number of seconds, not {' '.join(fields)!r:.60}"
        ) from None
