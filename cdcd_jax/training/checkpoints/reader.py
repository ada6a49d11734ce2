"""Reading checkpoints without side effects: no file is made, cleaned or removed.

Another process may be training in the folder meanwhile, and remove older checkpoints as it writes
newer ones.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from cdcd_jax.distributed.agreement import all_agree, broadcast_from_host0
from cdcd_jax.distributed.partition import by_name
from cdcd_jax.io import is_first_host
from cdcd_jax.training.checkpoints.checksums import checksums
from cdcd_jax.training.checkpoints.compatibility import (
    OtherConfigError,
    OtherVersionError,
    check_arrays,
    check_compatible,
)
from cdcd_jax.training.checkpoints.folder import (
    CheckpointError,
    check_path,
    check_step,
    list_steps,
)
from cdcd_jax.training.checkpoints.orbax import reading_alone, without_stray_messages
from cdcd_jax.training.state import TrainState

T = TypeVar("T")

MAX_VANISHED = 30
"""Checkpoints that may disappear while they are read, one after the other."""


class RunProgress(NamedTuple):
    """What a run needs besides its state to resume.

    Attributes:
        data: State of the data iterator, made of JSON types.
        train_seconds: Time spent training so far, in seconds.
    """

    data: Any
    train_seconds: float


class Restored(NamedTuple):
    """The newest checkpoint that is whole.

    Attributes:
        state: The state.
        position: The rest.
        damaged: Steps of newer checkpoints that could not be read.
    """

    state: TrainState
    position: RunProgress
    damaged: tuple[int, ...]


class CheckpointReader:
    """A reader of the checkpoints of a run.

    Of many hosts each reads its own parts of the arrays; a checkpoint that one of them cannot read
    is damaged for all.

    Args:
        folder: Where they are, one folder per step; it need not exist.
        compatibility: The flat configuration that a checkpoint must share to be resumed.
        mutable_keys: Keys that may differ.

    Raises:
        ValueError: If checkpoints cannot be read from such a path.
    """

    def __init__(
        self,
        folder: Path,
        *,
        compatibility: Mapping[str, Any],
        mutable_keys: Collection[str] = (),
    ):
        check_path(folder)
        self._folder, self._compatibility = folder, dict(compatibility)
        self._mutable_keys = mutable_keys

    def list_steps(self) -> list[int]:
        """List the steps of the complete checkpoints as host 0 finds them, oldest first.

        Raises:
            CheckpointError: If they cannot be listed.
        """
        failure, steps = None, []
        if is_first_host():
            try:
                steps = list_steps(self._folder)
            except OSError as error:
                failure = error
        if not all_agree(failure is None):
            raise CheckpointError(f"{self._folder} cannot be listed: {failure}") from failure
        # A shared file system may show each host another list for a while.
        return broadcast_from_host0(steps)

    def read_newest(
        self, template: TrainState, *, report: Callable[[str], None] = print
    ) -> Restored | None:
        """Read the newest checkpoint that is whole.

        Args:
            template: Shapes, types and shardings of the state wanted, see ``abstract_state``.
            report: Called with a sentence about each damaged checkpoint.

        Returns:
            State and position, or None if there is no checkpoint.

        Raises:
            OtherConfigError: If the checkpoint is of another configuration.
            OtherVersionError: If it holds other arrays.
            CheckpointError: If there are checkpoints and none can be read.
        """
        damaged: list[int] = []
        error: Exception | None = None
        tried: set[int] = set()
        steps = self.list_steps()
        while left := [step for step in steps if step not in tried]:
            step = left[-1]
            tried.add(step)
            read, error = self._try_load(step, template)
            if read is not None:
                if damaged and is_first_host():
                    report(f"Going back to the checkpoint of step {step}.")
                return Restored(*read, tuple(damaged))
            steps = self.list_steps()
            # A running training removes it only after it has written a newer one.
            if step not in steps or any(found > step and found not in tried for found in steps):
                if len(tried) - len(damaged) > MAX_VANISHED:
                    raise CheckpointError(
                        f"the checkpoints in {self._folder} are removed faster than they can be "
                        "read, by a training that is running there; try again when it has "
                        "ended, or "
                        "let it keep more of them (train.keep_checkpoints)"
                    ) from error
                continue
            damaged.append(step)
            if is_first_host():
                report(f"The checkpoint {self._folder / str(step)} is damaged or cut short.")
        if damaged:
            raise CheckpointError(
                f"None of the checkpoints in {self._folder} (steps {sorted(damaged)}) can be read "
                f"({_first_line(error)}); all of them are still there, so make that storage "
                "readable and try again, or give another --workdir"
            ) from error
        return None

    def _try_load(
        self, step: int, template: TrainState
    ) -> tuple[tuple[TrainState, RunProgress] | None, Exception | None]:
        """Read a complete checkpoint, the same on all hosts; else return the error of this host."""
        metadata, failure = self._agreed(self._describe, step, template)
        if metadata is None:
            return None, failure
        read, failure = self._agreed(self._load, step, template)
        if read is None:
            return None, failure
        state, written = read
        if not all_agree(np.array_equal(checksums(state), written)):
            return None, CheckpointError("what was read is not what was written")
        try:
            check_step(int(state.step), self._folder / str(step))
        except CheckpointError as error:
            return None, error
        return (state, RunProgress(metadata["data"], metadata["train_seconds"])), None

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
        check_compatible(
            self._folder, metadata["config"], self._compatibility, mutable_keys=self._mutable_keys
        )
        check_arrays(self._folder, found.metadata["state"], by_name(template))
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


def _first_line(error: BaseException | None) -> str:
    return (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]
