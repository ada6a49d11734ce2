"""Conditions to sample for, where there is more than one per test example."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int


class SampleRequests(NamedTuple):
    """Conditions to draw samples for, such as all captions of all test images.

    Attributes:
        cond: [requests ...] the conditions; what metrics take for a label is a number of them.
        of_example: [examples] which of them is the condition of each test example.
    """

    cond: Any
    of_example: Int[np.ndarray, " examples"]

    @property
    def num_requests(self) -> int:
        """Number of conditions."""
        return len(jax.tree.leaves(self.cond)[0])
