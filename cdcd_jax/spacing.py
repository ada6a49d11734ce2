"""Choosing some of many, evenly."""

import numpy as np
from jaxtyping import Int


def evenly_spaced(total: int, limit: int) -> Int[np.ndarray, " chosen"]:
    """Choose at most ``limit`` of 0..total-1, evenly spaced, first and last among them.

    >>> evenly_spaced(5, 3).tolist(), evenly_spaced(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    return np.linspace(0, total - 1, min(limit, total)).round().astype(int)
