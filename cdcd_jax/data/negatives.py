"""Inter negatives: other instances of the training set, drawn by index (CDCD section 3.3)."""

import numpy as np


class OtherGroups:
    """Draw examples uniformly from all groups but one's own, in time independent of the set's size.

    The examples are ordered by group once, so that a group is one run of positions. A draw from
    ``0..total-size-1`` then skips over the run of the example's own group.

    Args:
        group: [examples] int; any values, e.g. class labels.

    Raises:
        ValueError: If there are fewer than two groups.

    >>> others = OtherGroups(np.array([7, 7, 3, 7]))
    >>> others.draw(np.random.default_rng(0), np.array([0, 1, 3]), num_negatives=2).tolist()
    [[2, 2], [2, 2], [2, 2]]
    """

    def __init__(self, group: np.ndarray):
        values, self._code, sizes = np.unique(group, return_inverse=True, return_counts=True)
        if len(values) < 2:
            raise ValueError(
                "inter negatives need at least two classes, and all the "
                f"{len(group)} examples are of one; use intra negatives instead"
            )
        self._order = np.argsort(self._code, kind="stable")
        self._size = sizes
        self._start = np.cumsum(sizes) - sizes

    def draw(
        self, rng: np.random.Generator, indices: np.ndarray, *, num_negatives: int
    ) -> np.ndarray:
        """Draw negatives for some examples, independently and with replacement.

        With replacement, so that N may exceed what there is; among the thousands of examples of a
        real set, a repeat within one example's N is rare.

        Args:
            rng: Where the randomness comes from.
            indices: [batch] the examples to draw for.
            num_negatives: N >= 0.

        Returns:
            [batch num_neg] indices of examples, each of another group than its row's.
        """
        own = self._code[indices]
        available = (len(self._code) - self._size[own])[:, None]
        position = rng.integers(0, available, size=(len(indices), num_negatives))
        position += np.where(position >= self._start[own][:, None], self._size[own][:, None], 0)
        return self._order[position]
