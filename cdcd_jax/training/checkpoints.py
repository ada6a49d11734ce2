"""Save and restore a whole run: state, position in the data, and the configuration it belongs to.

A thin layer over Orbax, which writes in the background and publishes a checkpoint by renaming its
folder, so that a kill at any moment leaves only complete ones. Added here: a checksum of every
array, as storage that loses a chunk can come back as zeros, and what to do when one does not fit.

Of many hosts each writes and reads its own parts of the arrays, in one folder that all share. What
one of them cannot read is damaged for all.
"""

import math
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from cdcd_jax.files import is_first_host
from cdcd_jax.training.agreement import all_agree, first_hosts_word
from cdcd_jax.training.checkpoint_folder import CheckpointError, cannot_write, prepare_folder
from cdcd_jax.training.checksums import checksums
from cdcd_jax.training.fingerprint import (
    OtherConfigError,
    OtherVersionError,
    check_fingerprint,
    check_names,
)
from cdcd_jax.training.orbax import (
    every_save,
    newest_and_best,
    reading_alone,
    without_stray_messages,
)
from cdcd_jax.training.partition import by_name
from cdcd_jax.training.state import TrainState

T = TypeVar("T")


class Position(NamedTuple):
    """Hold what a run needs besides its state to go on.

    Attributes:
        data: State of the data iterator, made of JSON types.
        train_seconds: Time spent training so far, in seconds.
    """

    data: Any
    train_seconds: float


class Checkpoints:
    """Keep the newest checkpoints of a run and the one with the lowest loss.

    Args:
        folder: Where they lie, one folder per step; made if it does not exist.
        fingerprint: The flat configuration that a checkpoint must share to be resumed.
        housekeeping: Keys in which it may differ all the same.
        keep: Number of newest checkpoints to keep, >= 1; with 2, one that is damaged on disk still
            leaves one to go back to.

    Raises:
        CheckpointError: If the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fingerprint: Mapping[str, Any],
        housekeeping: Collection[str] = (),
        keep: int = 2,
    ):
        if keep < 1:
            raise ValueError(f"keep = {keep} must be at least 1")
        self._fingerprint = dict(fingerprint)
        self._housekeeping = housekeeping
        self._folder = folder
        prepare_folder(folder)
        try:
            self._checkpointer = ocp.training.Checkpointer(
                str(folder.absolute()),
                save_decision_policy=every_save(),
                preservation_policy=newest_and_best(keep),
                cleanup_tmp_directories=True,
            )
        except OSError as error:
            raise CheckpointError(cannot_write(folder, error)) from error
        # A shared file system may show each host another list for a while.
        self._known = set(first_hosts_word(self.steps))

    def __enter__(self) -> "Checkpoints":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what is being written; a failure of it must not hide one of the body."""
        try:
            self._checkpointer.close()
        except Exception as failure:
            if error is None:
                raise CheckpointError(cannot_write(self._folder, failure)) from failure

    @property
    def steps(self) -> list[int]:
        """List the steps of the complete checkpoints, oldest first."""
        return sorted(found.step for found in self._checkpointer.checkpoints)

    def check_space(self, state: TrainState) -> None:
        """Check, before any training, that the disk has room for the checkpoints to come.

        Args:
            state: The state or its abstract form.

        Raises:
            CheckpointError: If less is free than two checkpoints take; all hosts write to one disk.
        """
        sizes = [math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)]
        # The one being written, and the old one that goes only after it.
        needed, free = 2 * sum(sizes), shutil.disk_usage(self._folder).free
        if not all_agree(free >= needed):
            raise CheckpointError(
                f"{self._folder} has {free / 1e6:.1f} MB free, and checkpoints of this run need "
                f"{needed / 1e6:.1f} MB; free some space or give another --workdir"
            )

    def save(self, state: TrainState, position: Position, *, loss: float) -> None:
        """Start writing a checkpoint and return as soon as the state may be changed.

        Args:
            state: The state; its step is the checkpoint's.
            position: The rest.
            loss: What the best checkpoint is chosen by, lower is better; nats per token.

        Raises:
            CheckpointError: If this one or the one before could not be written.
        """
        step = int(state.step)
        if step in self._known:
            return
        self._known.add(step)
        try:
            self._checkpointer.save_checkpointables_async(
                step,
                {"state": by_name(state), "checksums": checksums(state)},
                metrics={"loss": loss},
                custom_metadata={
                    "config": self._fingerprint,
                    "data": position.data,
                    "train_seconds": position.train_seconds,
                },
            )
        except Exception as error:
            raise CheckpointError(cannot_write(self._folder, error)) from error

    def wait(self) -> None:
        """Wait until the last save is complete on disk.

        Raises:
            CheckpointError: If it could not be written.
        """
        try:
            self._checkpointer.wait()
        except Exception as error:
            raise CheckpointError(cannot_write(self._folder, error)) from error

    def restore(
        self, template: TrainState, *, tell: Callable[[str], None] = print
    ) -> tuple[TrainState, Position] | None:
        """Read the newest checkpoint that is whole; damaged newer ones are removed.

        Args:
            template: Shapes, types and shardings of the state wanted, see ``abstract_state``.
            tell: Called with a sentence about each damaged checkpoint.

        Returns:
            State and position, or None if there is no checkpoint.

        Raises:
            OtherConfigError: If the checkpoint is of another configuration.
            OtherVersionError: If it holds other arrays.
            CheckpointError: If there are checkpoints and all are damaged.
        """
        damaged: list[int] = []
        error: Exception | None = None
        for step in sorted(self._known, reverse=True):
            restored, error = self._try_load(step, template)
            if restored is None:
                damaged.append(step)
                if is_first_host():
                    tell(f"The checkpoint {self._folder / str(step)} is damaged or cut short.")
                continue
            if damaged and is_first_host():
                tell(f"Going back to the checkpoint of step {step}.")
            for newer in damaged:
                self._checkpointer.delete(newer)
                self._known.discard(newer)
            return restored
        if damaged:
            raise CheckpointError(
                f"None of the checkpoints in {self._folder} (steps {sorted(damaged)}) can be read; "
                "remove that folder to start again, or give another --workdir"
            ) from error
        return None

    def _try_load(
        self, step: int, template: TrainState
    ) -> tuple[tuple[TrainState, Position] | None, Exception | None]:
        """Read a checkpoint if it is whole, the same on all hosts; else tell what is wrong here."""
        metadata, failure = self._agreed(self._describe, step, template)
        if metadata is None:
            return None, failure
        read, failure = self._agreed(self._load, step, template)
        if read is None:
            return None, failure
        state, written = read
        if not all_agree(np.array_equal(checksums(state), written)):
            return None, CheckpointError("what was read is not what was written")
        return (state, Position(metadata["data"], metadata["train_seconds"])), None

    def _agreed(
        self, read: Callable[[int, TrainState], T], step: int, template: TrainState
    ) -> tuple[T | None, Exception | None]:
        """Read something on all hosts, or on none; each step counts Orbax's calls alike then."""
        found, failure = None, None
        try:
            with without_stray_messages(), reading_alone():
                found = read(step, template)
        except (OtherConfigError, OtherVersionError):
            raise
        except Exception as error:
            failure = error
        return (found if all_agree(failure is None) else None), failure

    def _describe(self, step: int, template: TrainState) -> dict[str, Any]:
        found = ocp.checkpointables_metadata(self._path(step))
        metadata: Any = found.custom_metadata
        if not isinstance(metadata, dict) or not {"config", "data"} <= metadata.keys():
            raise CheckpointError("its description cannot be read")
        check_fingerprint(
            self._folder, metadata["config"], self._fingerprint, housekeeping=self._housekeeping
        )
        check_names(self._folder, found.metadata["state"], by_name(template))
        return metadata

    def _load(self, step: int, template: TrainState) -> tuple[TrainState, Any]:
        wanted = by_name(template)
        loaded = ocp.load_checkpointables(
            self._path(step), {"state": wanted, "checksums": _like_checksums(template)}
        )
        leaves = [loaded["state"][name] for name in wanted]
        state = jax.tree.unflatten(jax.tree.structure(template), leaves)
        return state, loaded["checksums"]

    def _path(self, step: int) -> str:
        return str(self._folder.absolute() / str(step))


def _like_checksums(template: TrainState) -> jax.ShapeDtypeStruct:
    """Describe the checksums of a state, which are whole on all devices of its mesh."""
    shape = jax.eval_shape(checksums, template)
    sharding = jax.tree.leaves(template)[0].sharding
    if isinstance(sharding, jax.sharding.NamedSharding):
        sharding = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
