"""Inter negatives: other instances of the training set, drawn by index (CDCD section 3.3)."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int


@runtime_checkable
class Negatives(Protocol):
    """A source of inter negatives."""

    def draw(
        self, rng: np.random.Generator, indices: np.ndarray, *, num_negatives: int
    ) -> np.ndarray:
        """Draw [batch num_neg] indices of examples for [batch] examples."""
        ...


class OtherGroups:
    """Uniform draws from all groups but one's own, in time independent of the set's size.

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


class ListedNegatives:
    """Draws from the images that a list names for each example's own image.

    As many different images of the list as there are, in random order, then the same again: with
    lists of ten and N = 10, as they are published, a step sees all ten. Of an image with several
    views one is drawn.

    Args:
        listed: For each image the numbers of the images listed for it.
        image_of: [examples] the image that an example is a view of.
        group: [examples] int; images of the own group are struck from a list.

    Raises:
        ValueError: If a list names an image that there is not, or nothing of another group.

    >>> one_each = np.arange(4)
    >>> listed = ListedNegatives([[1, 2], [0], [3], [0, 1]], one_each, group=one_each)
    >>> drawn = listed.draw(np.random.default_rng(0), np.array([0, 1]), num_negatives=4)
    >>> sorted(drawn[0].tolist()), drawn[1].tolist()
    ([1, 1, 2, 2], [0, 0, 0, 0])
    """

    def __init__(
        self,
        listed: Sequence[Sequence[int]],
        image_of: Int[np.ndarray, " examples"],
        group: Int[np.ndarray, " examples"],
    ):
        num_images = len(listed)
        self._image_of = image_of
        self._views = np.bincount(image_of, minlength=num_images)
        self._first_view = np.cumsum(self._views) - self._views
        self._examples = np.argsort(image_of, kind="stable")
        if len(self._views) != num_images or not self._views.all():
            raise ValueError(f"there are {num_images} lists of negatives for other images")
        group_of = group[self._examples[self._first_view]]
        kept = []
        for image, names in enumerate(listed):
            others = np.unique(np.asarray(names, int))
            if others.size and not 0 <= others[0] <= others[-1] < num_images:
                raise ValueError(f"the list of image {image} names one that there is not")
            kept.append(others[group_of[others] != group_of[image]])
        self._count = np.array([len(others) for others in kept])
        if not self._count.all():
            raise ValueError(
                f"the list of image {int(np.argmin(self._count))} names no image of another "
                "group, so it has no negatives; name some"
            )
        self._start = np.cumsum(self._count) - self._count
        self._listed = np.concatenate(kept)

    def draw(
        self, rng: np.random.Generator, indices: np.ndarray, *, num_negatives: int
    ) -> np.ndarray:
        """Draw negatives for some examples.

        Args:
            rng: Where the randomness comes from.
            indices: [batch] the examples to draw for.
            num_negatives: N >= 0.

        Returns:
            [batch num_neg] indices of examples, each a view of an image listed for its row's.
        """
        own = self._image_of[indices]
        count = self._count[own][:, None]
        # Places beyond a list's end are ordered last, so that the first `count` are a shuffle.
        places = np.arange(self._count[own].max(initial=1))
        keys = np.where(places < count, rng.random((len(own), len(places))), 1.0)
        order = np.argsort(keys, axis=1, kind="stable")
        turn = np.arange(num_negatives)[None] % count
        place = np.take_along_axis(order, turn, axis=1)
        image = self._listed[self._start[own][:, None] + place]
        return self._examples[self._first_view[image] + rng.integers(0, self._views[image])]
