"""Reference statistics of real images, in files of several formats.

A file of our own keeps mean and scatter of the features, what they are of, and a part of the
features. Others' files are taken too: ``mu`` and ``sigma``, the mean and the covariance, as
pytorch-fid, clean-fid and ADM (Dhariwal and Nichol 2021) write them, and images in ``arr_0``.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from cdcd_jax.evaluation.hosts import gather_hosts
from cdcd_jax.evaluation.metrics.images.archived_images import ArchivedImages
from cdcd_jax.evaluation.metrics.images.frechet import Gaussian, Moments
from cdcd_jax.evaluation.metrics.images.real_images import ImageSet
from cdcd_jax.io import atomic_write, is_first_host
from cdcd_jax.models.features.inception import NUM_FEATURES
from cdcd_jax.reading.arrays import ArrayLayout, read_array, read_layouts

OURS = {"fingerprint", "num_examples", "mean", "scatter"}
STATISTICS = {"mu", "sigma"}
IMAGES = "arr_0"

Form = Literal["ours", "statistics", "images"]


class Reference(NamedTuple):
    """Statistics of the features of real images.

    Attributes:
        gaussian: Their mean and covariance.
        features: [kept dim] some of them; None where there are only mean and covariance.
    """

    gaussian: Moments | Gaussian
    features: Float32[np.ndarray, "kept dim"] | None = None


def load_reference(
    path: str | os.PathLike,
    fingerprint: str,
    images: ImageSet,
    compute: Callable[[ImageSet], Reference],
) -> Reference:
    """Read the reference that a file keeps, or compute it and write the file.

    Args:
        path: An ``.npz`` file.
        fingerprint: What the reference must be of, where the file says it: images, their size and
            number, the network.
        images: The real images that it is computed of where there is no file.
        compute: Computes it of a set of images; called on all hosts if on any.

    Returns:
        The reference.

    Raises:
        ValueError: If the file is damaged, malformed or keeps the features of something else.
    """
    path = Path(path)
    # Hosts that do not all see the file compute together, or some would wait for the others.
    form = find_form(path) if all(gather_hosts(path.exists())) else None
    if form in ("statistics", "images"):
        print(describe_reference(path))
        archived = ArchivedImages(path, IMAGES) if IMAGES in read_layouts(path) else None
        computed = compute(archived) if archived is not None else None
        if form == "statistics":
            return Reference(_read_statistics(path), computed and computed.features)
        assert computed is not None
        return computed
    if form == "ours":
        kept = _read_ours(path, fingerprint)
        if kept.features is not None:
            return kept  # Files of version 0.1 have none.
    reference = compute(images)
    if is_first_host():
        write_reference(path, fingerprint, reference)
    return reference


def find_form(path: str | os.PathLike) -> Form:
    """Find out what a file of a reference holds, by the names, shapes and types of its arrays.

    Raises:
        ValueError: If it is damaged or malformed; the sentence says what it holds.
    """
    layouts = read_layouts(Path(path), {*OURS, *STATISTICS, IMAGES})
    if set(layouts) >= OURS:
        return "ours"
    if set(layouts) >= STATISTICS:
        shapes = layouts["mu"].shape, layouts["sigma"].shape
        if shapes != ((NUM_FEATURES,), (NUM_FEATURES, NUM_FEATURES)):
            raise ValueError(
                f"{path}: mu and sigma have the shapes {shapes[0]} and {shapes[1]}, and not those "
                f"of InceptionV3's {NUM_FEATURES} features; take statistics of those"
            )
        types = layouts["mu"].dtype, layouts["sigma"].dtype
        if any(dtype.kind != "f" for dtype in types):
            raise ValueError(
                f"{path}: mu and sigma are {types[0]} and {types[1]}, and not floating-point "
                "numbers; take another copy"
            )
    elif IMAGES not in layouts:
        raise ValueError(
            f"{path} holds {', '.join(sorted(layouts)) or 'nothing'}, which is another format: a "
            "reference has mu and sigma, as pytorch-fid, clean-fid and ADM write them, or images "
            f"as {IMAGES}; name such a file, or a new one to have it made"
        )
    if IMAGES in layouts:
        _check_images(path, layouts[IMAGES])
    return "statistics" if set(layouts) >= STATISTICS else "images"


def check_reference(path: str | os.PathLike) -> None:
    """Check what a file of a reference holds, its statistics' values included.

    Raises:
        ValueError: If it is damaged, malformed or its values cannot be statistics.
    """
    path = Path(path)
    form = find_form(path)
    if form == "statistics":
        _read_statistics(path)
    elif form == "ours" and (dim := _read_ours(path).gaussian.mean.size) != NUM_FEATURES:
        raise ValueError(
            f"{path} holds statistics of {dim} features, and not of InceptionV3's {NUM_FEATURES}; "
            "name another file"
        )


def describe_reference(path: Path) -> str:
    """Describe a foreign reference, as far as its file allows.

    clean-fid's files are known by their names, ``cifar10_clean_train_32.npz``, and ADM's by the
    spatial features beside the others.
    """
    layouts = read_layouts(path)
    if not set(layouts) >= STATISTICS:
        return f"FID, precision, recall and KID are measured to the images of {path}."
    words = path.stem.split("_")
    origin = "of features that were computed elsewhere, as pytorch-fid has them"
    if "mu_s" in layouts:
        origin = "ADM's, of features from TensorFlow's graph"
    elif "clean" in words or "legacy" in words:
        mode = "clean" if "clean" in words else "legacy"
        origin = f"clean-fid's in mode {mode}, of images that it resized in its own way"
    rest = "" if IMAGES in layouts else "; precision, recall and KID need images or features"
    return f"FID is measured to mu and sigma of {path}, {origin} (docs/guides/metrics.md){rest}."


def _check_images(path: str | os.PathLike, layout: ArrayLayout) -> None:
    shape, dtype, by_rows = layout
    known = len(shape) == 4 and shape[3] == 3 and dtype == np.uint8 and by_rows
    if not known or shape[0] < 2 or min(shape) < 1:
        raise ValueError(
            f"{path}: {IMAGES} is {dtype} {list(shape)}, and no images, which are uint8 "
            "[images, height, width, 3]"
        )


def _read_statistics(path: Path) -> Gaussian:
    mean, covariance = (read_array(path, name).astype(np.float64) for name in ("mu", "sigma"))
    _check_statistics(path, "mu", mean, "sigma", covariance)
    return Gaussian(mean, covariance)


def _check_statistics(
    path: Path, mean_name: str, mean: np.ndarray, name: str, covariance: np.ndarray
) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(
            f"{path}: {mean_name} or {name} has values that are not finite; take another copy"
        )
    # A copy in half precision, or sums in another order, are as asymmetric as their rounding.
    if np.abs(covariance - covariance.T).max() > 1e-3 * np.abs(covariance).max():
        raise ValueError(f"{path}: {name} is not symmetric, so no covariance; take another copy")
    if covariance.diagonal().min() < 0:
        raise ValueError(f"{path}: {name} has negative variances; take another copy")


def _read_ours(path: Path, fingerprint: str | None = None) -> Reference:
    """Read our own file; None as the fingerprint accepts it of any images and network."""
    layouts = read_layouts(path)
    kept = [name for name in (*sorted(OURS), "features") if name in layouts]
    floats = [layouts[name] for name in ("mean", "scatter", "features") if name in layouts]
    count, mean_shape = layouts["num_examples"], layouts["mean"].shape
    features_shape = layouts["features"].shape if "features" in layouts else (0, *mean_shape)
    if (
        count.shape != ()
        or count.dtype.kind not in "iu"
        or any(layout.dtype.kind != "f" for layout in floats)
        or len(mean_shape) != 1
        or mean_shape[0] == 0
        or layouts["scatter"].shape != (*mean_shape, *mean_shape)
        or len(features_shape) != 2
        or features_shape[1:] != mean_shape
        or layouts["fingerprint"].num_bytes > 10_000
    ):
        raise _no_reference(path, layouts, kept)
    found = {name: read_array(path, name) for name in kept}
    num_examples, mean, scatter = (found[name] for name in ("num_examples", "mean", "scatter"))
    features = found.get("features")
    if num_examples < 1:
        raise _no_reference(path, layouts, kept)
    _check_statistics(path, "mean", mean, "scatter", scatter)
    if features is not None and not np.isfinite(features).all():
        raise ValueError(f"{path}: features has values that are not finite; name another file")
    theirs = str(found["fingerprint"])
    if fingerprint is not None and theirs != fingerprint:
        raise ValueError(
            f'{path} holds the reference statistics of "{theirs}", but those of "{fingerprint}" '
            "are needed; name another file"
        )
    return Reference(Moments(int(num_examples), mean, scatter), features)


def _no_reference(path: Path, layouts: dict[str, ArrayLayout], kept: list[str]) -> ValueError:
    held = ", ".join(f"{n} {layouts[n].dtype} {list(layouts[n].shape)!s:.80}" for n in kept)
    return ValueError(
        f"{path} is not a file of reference statistics, as it holds {held}; name another file, and "
        "they are computed anew"
    )


def write_reference(path: Path, fingerprint: str, reference: Reference) -> None:
    """Write a reference so that a reader sees no file or the whole, never half of it.

    Args:
        path: An ``.npz`` file; its folder is made if it is not there.
        fingerprint: What it is of.
        reference: The reference, with moments and features.
    """
    assert isinstance(reference.gaussian, Moments)
    arrays = {"fingerprint": fingerprint, "features": reference.features}
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez(file, **reference.gaussian._asdict(), **arrays)  # pyright: ignore[reportArgumentType]
