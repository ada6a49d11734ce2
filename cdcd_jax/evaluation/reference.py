"""Keep the reference statistics of a Frechet distance on disk, beside what they are of."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cdcd_jax.evaluation.frechet import Moments
from cdcd_jax.evaluation.hosts import gather_hosts
from cdcd_jax.files import is_first_host, whole_file


def cached_moments(
    path: str | os.PathLike, fingerprint: str, compute: Callable[[], Moments]
) -> Moments:
    """Read the moments that a file keeps, or compute them and write the file.

    Args:
        path: An ``.npz`` file.
        fingerprint: What the moments are of: pictures, their size and number, the network.
        compute: Computes them; called on all hosts if on any.

    Returns:
        The moments.

    Raises:
        ValueError: If the file is damaged or keeps the moments of something else.
    """
    path = Path(path)
    # Hosts that do not all see the file compute together, or some would wait for the others.
    if all(gather_hosts(path.exists())):
        return read_moments(path, fingerprint)
    moments = compute()
    if is_first_host():
        write_moments(path, fingerprint, moments)
    return moments


def read_moments(path: Path, fingerprint: str) -> Moments:
    """Read the moments that a file keeps.

    Args:
        path: An ``.npz`` file that ``write_moments`` wrote.
        fingerprint: What they must be of.

    Returns:
        The moments.

    Raises:
        ValueError: If the file is damaged or keeps the moments of something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            moments = Moments(int(file["num_examples"]), file["mean"], file["scatter"])
            theirs = str(file["fingerprint"])
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is no complete file of reference statistics ({error}); delete it, and it is "
            "computed anew"
        ) from error
    if theirs != fingerprint:
        raise ValueError(
            f'{path} holds the reference statistics of "{theirs}", but those of "{fingerprint}" '
            "are needed; name another file"
        )
    return moments


def write_moments(path: Path, fingerprint: str, moments: Moments) -> None:
    """Write moments so that a reader sees no file or the whole, never half of it.

    Args:
        path: An ``.npz`` file; its folder is made if it is not there.
        fingerprint: What they are of.
        moments: The moments.
    """
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, fingerprint=fingerprint, **moments._asdict())
