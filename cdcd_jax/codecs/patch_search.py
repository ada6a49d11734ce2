"""Patches of images, and the nearest code of each."""

import numpy as np
from jaxtyping import Float64, Int32, UInt8


def cut_patches(
    images: UInt8[np.ndarray, "batch size size 3"], patch_size: int
) -> UInt8[np.ndarray, "patches values"]:
    """Cut images in patches, row by row, each a row of numbers.

    >>> cut_patches(np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3), 1)[1].tolist()
    [3, 4, 5]
    """
    batch, size = images.shape[:2]
    side = size // patch_size
    cells = images.reshape(batch, side, patch_size, side, patch_size, 3).swapaxes(2, 3)
    return cells.reshape(batch * side * side, -1)


class PatchSearch:
    """An exact search of nearest codes: argmin_k |x - c_k|^2 = argmin_k (|c_k|^2 / 2 - x.c_k).

    Values are shifted to -128..127, so that all sums are multiples of 1/2 below
    1.5 * 2^14 for each number in a patch. Up to 10 x 10 pixels these are float32's, whatever
    the order of summation; beyond, float64's.

    Args:
        codes: Values 0..255, a row of numbers for each code.
    """

    def __init__(self, codes: UInt8[np.ndarray, "codes values"]):
        dim = codes.shape[1]
        self._type = np.float32 if 2 * 1.5 * 2**14 * dim <= 2**24 else np.float64
        centred = self._centred(codes)
        self._codes, self._half_norms = centred.T, (centred**2).sum(axis=1)[None, :] / 2

    def nearest(
        self, patches: UInt8[np.ndarray, "patches values"]
    ) -> Int32[np.ndarray, " patches"]:
        """Return the number of the nearest code, of equally near ones the first."""
        return self._scores(patches).argmin(axis=1).astype(np.int32)

    def squared_distances(
        self, patches: UInt8[np.ndarray, "patches values"]
    ) -> Float64[np.ndarray, " patches"]:
        """Return the squared distance to the nearest code."""
        norms = (self._centred(patches).astype(np.float64) ** 2).sum(axis=1)
        return norms + 2.0 * self._scores(patches).min(axis=1)

    def _scores(self, patches: np.ndarray) -> np.ndarray:
        return self._half_norms - self._centred(patches) @ self._codes

    def _centred(self, values: np.ndarray) -> np.ndarray:
        return values.astype(self._type) - self._type(128)
