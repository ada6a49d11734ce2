"""The averaged weights of a run's newest checkpoint, read without its configuration."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from orbax.checkpoint import v1 as ocp

from cdcd_jax.training.checkpoints.checksums import checksums
from cdcd_jax.training.checkpoints.folder import CheckpointError, check_step, is_step, list_steps
from cdcd_jax.training.checkpoints.orbax import reading_alone, without_stray_messages

AVERAGE = "ema_params."


class Average(NamedTuple):
    """The averaged weights of a run.

    Attributes:
        path: Folder of the checkpoint.
        arrays: NumPy arrays by their names within the parameters, such as ``denoiser/...``.
        config: The flat configuration that the checkpoint was written with.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    config: dict[str, Any]


def find_checkpoint(path: Path, *, besides: Collection[Path] = ()) -> Path | None:
    """Find the newest complete checkpoint of a run.

    Args:
        path: Folder of the run, of its checkpoints, or of one of them. What is in it decides, as
            a run may itself be called ``checkpoints``.
        besides: Checkpoints that do not count.

    Returns:
        The folder of the checkpoint; None if there is none.
    """
    found = find_newest(path / "checkpoints", besides=besides)
    if found is None and path.name == "checkpoints":
        found = find_newest(path, besides=besides)
    if found is None and is_step(path.name) and path.parent.name == "checkpoints":
        found = path if path.is_dir() and path not in besides else None
    return found


def find_newest(checkpoints: Path, *, besides: Collection[Path] = ()) -> Path | None:
    """Find the newest complete checkpoint in a folder of them; None if there is none."""
    steps = list_steps(checkpoints) if checkpoints.is_dir() else []
    found = [path for step in steps if (path := checkpoints / str(step)) not in besides]
    return found[-1] if found else None


def read_newest_average(
    path: Path, *, report: Callable[[str], object] | None = None
) -> Average | None:
    """Read the averaged weights of the newest checkpoint, which may be removed meanwhile.

    Args:
        path: As for ``find_checkpoint``.
        report: Called with a sentence about each checkpoint that cannot be read, and the one before
            it is taken; None to raise.

    Returns:
        The weights; None if there is no checkpoint.

    Raises:
        CheckpointError: As ``read_average``; with ``report``, if none can be read.
    """
    damaged: list[Path] = []
    while (checkpoint := find_checkpoint(path, besides=damaged)) is not None:
        try:
            average = read_average(checkpoint)
        except CheckpointError as error:
            # A running training removes a checkpoint only after it has written a newer one.
            if find_checkpoint(path, besides=damaged) != checkpoint:
                continue
            if report is None:
                raise
            damaged.append(checkpoint)
            if find_checkpoint(path, besides=damaged) is None:
                steps = sorted(int(each.name) for each in damaged)
                raise CheckpointError(
                    f"None of the checkpoints in {checkpoint.parent} (steps {steps}) can be read "
                    f"({error}); all of them are still there, so make that storage readable and "
                    "try again"
                ) from error
            report(f"The checkpoint {checkpoint} is damaged or cut short.")
            continue
        if damaged and report is not None:
            report(f"Going back to the checkpoint of step {checkpoint.name}.")
        return average
    return None


def read_average(path: Path) -> Average:
    """Read the averaged weights of a checkpoint, on each host by itself.

    Args:
        path: From ``find_checkpoint``.

    Returns:
        The weights.

    Raises:
        CheckpointError: If it is damaged, or no checkpoint of this package.
    """
    try:
        with without_stray_messages(), reading_alone(partly=True):
            return _read(path)
    except CheckpointError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({reason[:200]}); give another one of the run, "
            "such as its folder of an earlier step"
        ) from error


def _read(path: Path) -> Average:
    place = str(path.absolute())
    found = ocp.checkpointables_metadata(place)
    leaves: Any = found.metadata["state"]
    # As jax.tree orders them: by the keys of each level.
    names = sorted((name for name in leaves if name.startswith(AVERAGE)), key=_levels)
    first = 1 + len([name for name in leaves if name.startswith("params.")])  # after the step
    wanted = {name: np.empty(leaves[name].shape, leaves[name].dtype) for name in ["step", *names]}
    sums: Any = found.metadata["checksums"]
    loaded = ocp.load_checkpointables(
        place, {"state": wanted, "checksums": np.empty(sums.shape, sums.dtype)}
    )
    arrays = [np.asarray(loaded["state"][name]) for name in names]
    written = np.asarray(loaded["checksums"])[first : first + len(names)]
    if not names or not np.array_equal(np.asarray(checksums(arrays)), written):
        raise CheckpointError(f"{path} is damaged: what is read is not what was written")
    check_step(int(loaded["state"]["step"]), path)
    inside = ["/".join(_levels(name.removeprefix(AVERAGE))) for name in names]
    metadata: Any = found.custom_metadata
    return Average(path, dict(zip(inside, arrays, strict=True)), dict(metadata["config"]))


def _levels(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))
