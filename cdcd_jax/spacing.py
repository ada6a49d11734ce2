"""Whole numbers that are spaced evenly, or multiples."""

import numpy as np
from jaxtyping import Int


def evenly_spaced(total: int, limit: int) -> Int[np.ndarray, " chosen"]:
    """Choose at most ``limit`` of 0..total-1, evenly spaced, first and last among them.

    >>> evenly_spaced(5, 3).tolist(), evenly_spaced(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    return np.linspace(0, total - 1, min(limit, total)).round().astype(int)


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple that is not below a number.

    >>> round_up(5, 4), round_up(8, 4)
    (8, 8)
    """
    return -(-number // multiple) * multiple
