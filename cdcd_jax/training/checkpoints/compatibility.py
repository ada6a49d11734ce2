"""The check that a checkpoint belongs to a run: the same configuration and arrays."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cdcd_jax.training.checkpoints.folder import CheckpointError

ABSENT = "absent"

BEFORE = {
    "loss.stratified_timesteps": False,
    "schedule.curve": "linear",
    "schedule.power": 2.0,
}
"""Keys that earlier versions did not have, and the values that compute as they did."""


class OtherConfigError(ValueError):
    """An error that names the keys in which a checkpoint's configuration differs."""


class OtherVersionError(CheckpointError):
    """An error that names the arrays in which a checkpoint differs from this version's state."""


def check_compatible(
    folder: Path,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    *,
    mutable_keys: Collection[str] = (),
) -> None:
    """Check that a checkpoint is of this configuration.

    Args:
        folder: Its folder, for the message.
        theirs: The flat configuration that it was written with.
        ours: That of the run.
        mutable_keys: Keys that are ignored. An earlier version may have written keys that are
            ignored now, or values that have another name now.

    Raises:
        OtherConfigError: If they differ; the sentence names the keys, and the flags that resume the
            run where all of its values are known.

    >>> check_compatible(Path("run"), {"data.path": "a"}, {}, mutable_keys=("data.path",))
    >>> check_compatible(Path("run"), {}, {"schedule.curve": "linear"})  # of an earlier version
    >>> check_compatible(Path("run"), {"optimizer.lr": 0.1}, {"optimizer.lr": 0.2})
    Traceback (most recent call last):
    cdcd_jax.training.checkpoints.compatibility.OtherConfigError: run holds checkpoints of another
    configuration
    (optimizer.lr = 0.1 there, 0.2 now); give another --workdir, or resume it with
    --config.optimizer.lr=0.1
    """
    keys = [
        key
        for key in sorted({*ours, *theirs} - {*mutable_keys})
        if ours.get(key, BEFORE.get(key, ABSENT)) != theirs.get(key, BEFORE.get(key, ABSENT))
    ]
    if not keys:
        return
    differing = "; ".join(
        f"{key} = {theirs.get(key, ABSENT)!r} there, {ours.get(key, ABSENT)!r} now" for key in keys
    )
    way_out = "resume it with those values"
    if all(isinstance(theirs.get(key), str | int | float) for key in keys):
        way_out = "resume it with " + " ".join(f"{_flag(key)}={theirs[key]}" for key in keys)
    if any(key.endswith(".decay_steps") for key in keys):
        way_out += ', where the rate stays at end_lr (decay="wsd" is for runs that go on)'
    raise OtherConfigError(
        f"{folder} holds checkpoints of another configuration ({differing}); give another "
        f"--workdir, or {way_out}"
    )


def _flag(key: str) -> str:
    """Name the flag of a key of the configuration, or of what is a flag by itself."""
    return f"--config.{key}" if "." in key else f"--{key}"


def check_arrays(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Check that a checkpoint holds the arrays that this version keeps.

    Args:
        folder: Its folder, for the message.
        theirs: Its arrays by name, each with ``dtype``.
        ours: Those of the run's state.

    Raises:
        OtherVersionError: If names or types differ; the sentence names up to three.
    """
    differing = sorted({*theirs} ^ {*ours})
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise OtherVersionError(
            f"{folder} holds checkpoints of another version of this program, which keeps other "
            f"arrays ({', '.join(differing[:3])}{more}); finish that run with the version that "
            "began it, or give another --workdir"
        )
    types = {
        name: (theirs[name].dtype, leaf.dtype)
        for name, leaf in ours.items()
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }
    other = [name for name, (there, now) in types.items() if there != now]
    if other:
        there, now = types[other[0]]
        raise OtherVersionError(
            f"{folder} holds checkpoints whose arrays have other types ({other[0]} is {there} "
            f"there, {now} now); run with the JAX_ENABLE_X64 that they were written with, or give "
            "another --workdir"
        )
