"""Saving and restoring a run: state, position in the data, and its configuration.

A thin layer over Orbax, which writes in the background and publishes a checkpoint by renaming its
folder, so that a kill at any moment leaves only complete ones. Added here: a checksum of every
array, as storage that loses a chunk can come back as zeros, and what to do when one does not fit.

Of many hosts each writes its own parts of the arrays, in one folder that all share. ``reader.py``
reads checkpoints, for this manager and for modes that only read.
"""

import math
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from cdcd_jax.distributed.agreement import all_agree
from cdcd_jax.distributed.partition import by_name
from cdcd_jax.io import is_first_host
from cdcd_jax.training.checkpoints.checksums import checksums
from cdcd_jax.training.checkpoints.folder import (
    DAMAGED,
    CheckpointError,
    cannot_write,
    list_steps,
    prepare_folder,
    set_aside,
)
from cdcd_jax.training.checkpoints.orbax import every_save, newest_and_best
from cdcd_jax.training.checkpoints.reader import CheckpointReader, RunProgress
from cdcd_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of a run: the newest ones and the one with the lowest loss.

    Args:
        folder: Their folder, with one folder per step; made if it does not exist.
        compatibility: The flat configuration that a checkpoint must share to be resumed.
        mutable_keys: Keys that may differ.
        keep: Number of newest checkpoints to keep, >= 1; with 2, one that is damaged on disk still
            leaves one to go back to.

    Raises:
        CheckpointError: If the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        compatibility: Mapping[str, Any],
        mutable_keys: Collection[str] = (),
        keep: int = 2,
    ):
        if keep < 1:
            raise ValueError(f"keep = {keep} must be at least 1")
        self._compatibility, self._folder, self._keep = dict(compatibility), folder, keep
        self._reader = CheckpointReader(
            folder, compatibility=compatibility, mutable_keys=mutable_keys
        )
        prepare_folder(folder)
        self._known = set(self._reader.list_steps())
        self._checkpointer: ocp.training.Checkpointer | None = None

    def _open(self) -> ocp.training.Checkpointer:
        """Open Orbax's manager, which removes what a killed save has left in the folder.

        It remembers what it finds, so damaged checkpoints must be out of its way by now.
        """
        if self._checkpointer is None:
            try:
                self._checkpointer = ocp.training.Checkpointer(
                    str(self._folder.absolute()),
                    save_decision_policy=every_save(),
                    preservation_policy=newest_and_best(self._keep),
                    cleanup_tmp_directories=True,
                )
            except OSError as error:
                raise CheckpointError(cannot_write(self._folder, error)) from error
        return self._checkpointer

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
            if self._checkpointer is not None:
                self._checkpointer.close()
        except Exception as failure:
            if error is None:
                raise CheckpointError(cannot_write(self._folder, failure)) from failure

    @property
    def steps(self) -> list[int]:
        """List the steps of the complete checkpoints, oldest first."""
        return list_steps(self._folder)

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

    def save(self, state: TrainState, position: RunProgress, *, loss: float) -> None:
        """Start writing a checkpoint and return as soon as the state may be changed.

        Args:
            state: The state; its step is the checkpoint's.
            position: The rest.
            loss: Selects the best checkpoint, lower is better; nats per token.

        Raises:
            CheckpointError: If this one or the one before could not be written.
        """
        step = int(state.step)
        if step in self._known:
            return
        self._known.add(step)
        checkpointer = self._open()
        try:
            checkpointer.save_checkpointables_async(
                step,
                {"state": by_name(state), "checksums": checksums(state)},
                metrics={"loss": loss},
                custom_metadata={
                    "config": self._compatibility,
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
            if self._checkpointer is not None:
                self._checkpointer.wait()
        except Exception as error:
            raise CheckpointError(cannot_write(self._folder, error)) from error

    def restore(
        self, template: TrainState, *, report: Callable[[str], None] = print
    ) -> tuple[TrainState, RunProgress] | None:
        """Read the newest checkpoint that is whole; damaged newer ones are moved aside.

        Args:
            template: Shapes, types and shardings of the state wanted, see ``abstract_state``.
            report: Called with a sentence about each damaged checkpoint.

        Returns:
            State and position, or None if there is no checkpoint.

        Raises:
            OtherConfigError: If the checkpoint is of another configuration.
            OtherVersionError: If it holds other arrays.
            CheckpointError: If there are checkpoints and all are damaged, or the folder cannot be
                written.
        """
        found = self._reader.read_newest(template, report=report)
        if found is not None and found.damaged:
            self._set_aside(found.damaged, report)
        self._open()
        return None if found is None else (found.state, found.position)

    def _set_aside(self, steps: Collection[int], report: Callable[[str], None]) -> None:
        failure = None
        if is_first_host():
            try:
                for step in steps:
                    set_aside(self._folder / str(step), str(step), self._folder)
            except OSError as error:
                failure = error
        if not all_agree(failure is None):
            reason = failure or OSError("host 0 says why")
            raise CheckpointError(cannot_write(self._folder, reason)) from failure
        self._known -= set(steps)
        if is_first_host():
            report(f"What is damaged is kept in {self._folder / DAMAGED}, where nothing reads it.")
