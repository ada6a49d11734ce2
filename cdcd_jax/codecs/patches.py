"""Encoding and decoding of images by a codebook of patches that is fitted in seconds."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from sklearn.cluster import MiniBatchKMeans

from cdcd_jax.codecs.codec import check_codes, check_images
from cdcd_jax.codecs.codec_file import PATCHES, read_arrays, write_arrays
from cdcd_jax.codecs.patch_search import PatchSearch, cut_patches

CODES = "codes"

MAX_PATCHES = 1_000_000
"""Most patches that the codes are fitted to."""

# k-means: patches at once, passes over all of them at most, and how many batches without progress
# end it.
BATCH, MAX_PASSES, PATIENCE = 8192, 100, 30


class PatchCodec:
    """A codec of square RGB images, patch by patch, with tokens in row-major order.

    A token is the number of the code nearest to a patch, by the sum of squared differences; of
    equally near codes it is the first. Codes are whole numbers like the images, and the distances
    are computed without rounding: tokens are the same on any machine, and a decoded image,
    rounded, gives the same tokens again.

    Args:
        codes: RGB patches, values 0..255, no two alike; at least two.
        image_size: Height and width of the images, a multiple of the patches'.
        batch_size: Images at once, >= 1; does not affect the tokens.

    Raises:
        ValueError: If a value is wrong, or a code occurs twice.

    >>> codec = PatchCodec(np.array([[[[0] * 3]], [[[255] * 3]]], np.uint8), image_size=2)
    >>> codec.encode(np.array([[[[9] * 3, [199] * 3]] * 2], np.uint8)).tolist()
    [[0, 1, 0, 1]]
    """

    def __init__(
        self,
        codes: UInt8[np.ndarray, "codes size size 3"],
        image_size: int,
        batch_size: int = 16,
    ):
        self.patch_size = codes.shape[1]
        check_patch_size(self.patch_size, image_size)
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size} must be at least 1")
        if len(codes) < 2 or len(np.unique(codes, axis=0)) < len(codes):
            raise ValueError(
                f"codes must be two or more patches, no two of them alike; got {len(codes)}"
            )
        self.codes, self.image_size, self.batch_size = codes, image_size, batch_size
        self.vocab_size = len(codes)
        digest = hashlib.sha256(f"{PATCHES} {image_size} {codes.shape}".encode())
        digest.update(np.ascontiguousarray(codes).tobytes())
        self.fingerprint = digest.hexdigest()
        self._search = PatchSearch(codes.reshape(len(codes), -1))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens."""
        side = self.image_size // self.patch_size
        return side, side

    def encode(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Int[np.ndarray, "b l"]:
        """Turn images into tokens.

        Args:
            images: RGB of the codec's size, values 0..255.

        Returns:
            int32, 0..vocab_size-1.

        Raises:
            ValueError: If the images are not of the codec's size.
        """
        check_images(images.shape, self.image_size)
        tokens = np.empty((len(images), self.grid[0] * self.grid[1]), np.int32)
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            patches = cut_patches(images[batch], self.patch_size)
            tokens[batch] = self._search.nearest(patches).reshape(-1, tokens.shape[1])
        return tokens

    def decode(
        self, tokens: Int[Array | np.ndarray, "batch length"]
    ) -> Float[np.ndarray, "batch height width 3"]:
        """Turn tokens back into images.

        Args:
            tokens: Values 0..vocab_size-1.

        Returns:
            float32 RGB, values 0..1.

        Raises:
            ValueError: If there is not one token for each cell of the grid, or one is not a token.
        """
        tokens = np.asarray(tokens)
        check_codes(tokens, self.grid, self.vocab_size)
        (rows, columns), size = self.grid, self.image_size
        patches = self.codes[tokens].reshape(-1, rows, columns, *self.codes.shape[1:])
        return patches.swapaxes(2, 3).reshape(-1, size, size, 3) / np.float32(255)


def fit_patch_codec(
    images: UInt8[np.ndarray, "images size size 3"],
    *,
    patch_size: int,
    num_codes: int,
    seed: int = 0,
    batch_size: int = 16,
) -> PatchCodec:
    """Fit the codes to images by k-means.

    Patches that are alike are one point with a weight, so that white, which most patches of letters
    are, takes one code and no more.

    Args:
        images: Training images, RGB values 0..255.
        patch_size: Height and width of the patches; divides that of the images.
        num_codes: K >= 2, at most as many as there are different patches.
        seed: Seed of the choice of patches and of k-means, >= 0.
        batch_size: For the codec, see ``PatchCodec``.

    Returns:
        The codec.

    Raises:
        ValueError: If a number is out of range, or there are fewer different patches than codes.
    """
    check_patch_size(patch_size, images.shape[1])
    patches, weights = _different_patches(images, patch_size, np.random.default_rng(seed))
    if not 2 <= num_codes <= len(patches):
        raise ValueError(
            f"num_codes = {num_codes} must be from 2 to {len(patches)}, as many as the images "
            f"have different patches of {patch_size} x {patch_size}"
        )
    machine = MiniBatchKMeans(
        num_codes, random_state=seed, batch_size=BATCH, max_iter=MAX_PASSES,
        max_no_improvement=PATIENCE, reassignment_ratio=0.0,
    )  # fmt: skip
    machine.fit(patches.astype(np.float32), sample_weight=weights)
    centres = np.clip(np.round(np.asarray(machine.cluster_centers_, np.float32)), 0, 255).astype(
        np.uint8
    )
    codes = _fill_up(np.unique(centres, axis=0), patches, num_codes)
    codes = codes.reshape(-1, patch_size, patch_size, 3)
    return PatchCodec(codes, image_size=images.shape[1], batch_size=batch_size)


def save_patches(path: str | Path, codec: PatchCodec) -> None:
    """Write a codec of patches to a ``.safetensors`` file, atomically.

    Args:
        path: Where to; missing folders are created.
        codec: The codec.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {"format": PATCHES, "image_size": str(codec.image_size)}
    write_arrays(path, {CODES: np.ascontiguousarray(codec.codes)}, metadata)


def load_patches(path: str | Path, *, batch_size: int = 16) -> PatchCodec:
    """Read what :func:`save_patches` wrote.

    Args:
        path: The file.
        batch_size: For the codec, see ``PatchCodec``.

    Returns:
        The codec.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is not a codec, or is one of another kind.
    """
    arrays, metadata = read_arrays(path, PATCHES)
    codes, size = arrays.get(CODES), metadata.get("image_size", "")
    if (
        codes is None
        or codes.dtype != np.uint8
        or codes.ndim != 4
        or codes.shape[1:] != (codes.shape[1], codes.shape[1], 3)
        or not size.isdecimal()
    ):
        raise ValueError(f"{path} is damaged: it lacks codes or the images' size.")
    try:
        return PatchCodec(codes, int(size), batch_size)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}.") from error


def check_patch_size(patch_size: int, image_size: int) -> None:
    """Raise a ValueError unless patches of a size fill images of a size."""
    if patch_size < 1 or image_size < 1 or image_size % patch_size:
        raise ValueError(f"patch_size = {patch_size} must divide image_size = {image_size}")


def _different_patches(
    images: np.ndarray, patch_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the patches that occur, and how often each does."""
    patches = cut_patches(images, patch_size)
    if len(patches) > MAX_PATCHES:
        patches = patches[np.sort(rng.choice(len(patches), MAX_PATCHES, replace=False))]
    rows = np.ascontiguousarray(patches).view(f"V{patches.shape[1]}").ravel()
    _, first, counts = np.unique(rows, return_index=True, return_counts=True)
    return patches[first], counts


def _fill_up(codes: np.ndarray, patches: np.ndarray, num_codes: int) -> np.ndarray:
    """Add the patches that are farthest from all codes, where rounding made codes alike."""
    while len(codes) < num_codes:
        search = PatchSearch(codes)
        apart = [search.squared_distances(part) for part in np.array_split(patches, 64)]
        codes = np.concatenate([codes, patches[np.argmax(np.concatenate(apart))][None]])
    return codes
