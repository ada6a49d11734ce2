"""A run, from its newest checkpoint or from scratch to its last step."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from cdcd_jax.distributed.host_progress import FollowedBatches
from cdcd_jax.distributed.mesh import describe_mesh
from cdcd_jax.distributed.partition import Rule
from cdcd_jax.training.checkpoints.folder import CheckpointError, writing
from cdcd_jax.training.checkpoints.lock import owning
from cdcd_jax.training.checkpoints.manager import Checkpoints
from cdcd_jax.training.checkpoints.reader import CheckpointReader, RunProgress
from cdcd_jax.training.loop import BatchIterator, LoopOptions, compile_step, train
from cdcd_jax.training.metrics import MetricsWriter
from cdcd_jax.training.profiling import Profile
from cdcd_jax.training.state import TrainState, abstract_state, compute_state, shard_state
from cdcd_jax.training.step import Batch, TrainStep
from cdcd_jax.training.stopping import Stopper

START = "start_from"
"""Key of the compatibility values that says what a run started from; only training reads it."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of any model.

    Attributes:
        mesh: Where arrays live.
        batch_size: Examples of a step, over all devices; the learning rate goes with it.
        init_state: Builds the state before the first step; to be jitted.
        train_step: One update; to be compiled with ``compile_step``.
        make_batches: Opens the stream of training batches at its start.
        loop: Length and intervals.
        keep_checkpoints: Number of newest checkpoints to keep.
        compatibility: The flat configuration, less the keys that may change on resume.
        mutable_keys: Keys of what may, which checkpoints of earlier versions may still name.
        preprocess: What frozen networks make of a batch on its devices, before the step takes it.
        start: What a fresh state becomes before its first step, such as one with weights of
            another run; a restored state is taken as it is.
        rules: Where parameters lie, before the rules of ``partition.RULES``.
    """

    mesh: Mesh
    batch_size: int
    init_state: Callable[[], TrainState]
    train_step: TrainStep
    make_batches: Callable[[], BatchIterator]
    loop: LoopOptions
    keep_checkpoints: int
    compatibility: dict[str, Any]
    mutable_keys: Collection[str] = ()
    preprocess: Callable[[Batch], Batch] = lambda batch: batch
    start: Callable[[TrainState], TrainState] = lambda state: state
    rules: Sequence[Rule] = ()

    def shardings(self) -> TrainState:
        """Decide where each array of the state lives, as a state of ``NamedSharding``."""
        return shard_state(jax.eval_shape(self.init_state), self.mesh, self.rules)


def run_training(
    training: Training,
    workdir: Path,
    stopper: Stopper,
    *,
    on_start: Callable[[], object] = lambda: None,
    hook: Callable[[TrainState], object] | None = None,
    profile: Profile | None = None,
) -> tuple[TrainState, RunProgress]:
    """Train to the last step, from the newest checkpoint if there is one.

    Args:
        training: What to train.
        workdir: Folder of the run.
        stopper: Checked after each step; if a stop was requested, the state is saved and the
            process ends with the stopper's exit code.
        on_start: Called before the first step, once the folder is known to be this run's.
        hook: Called with the state every ``loop.sample_every`` steps.
        profile: Which steps to trace.

    Returns:
        The last state, and the seconds it took over all restarts.

    Raises:
        FolderInUseError: If another process writes to the folder, or has taken it over.
        CheckpointError: If checkpoints cannot be read or written.
        TrainingDivergedError: If the loss or its gradient is not finite.
    """
    batches = training.make_batches()
    seconds, shardings = 0.0, training.shardings()
    with (
        owning(workdir) as check_owned,
        Checkpoints(
            workdir / "checkpoints",
            compatibility=training.compatibility,
            mutable_keys=training.mutable_keys,
            keep=training.keep_checkpoints,
        ) as checkpoints,
    ):
        template = abstract_state(training.init_state, shardings)
        checkpoints.check_space(template)
        found = checkpoints.restore(template)
        if found is None:
            state = training.start(compute_state(training.init_state, shardings))
        else:
            state, position = found
            batches.set_state(position.data)
            seconds = position.train_seconds
            print(f"Going on from step {int(state.step)} in {workdir}")
            stopper.kept = f"step {int(state.step)} is saved"
        on_start()
        print(f"Training on {describe_mesh(training.mesh, training.batch_size)}")
        with (
            writing(workdir),
            MetricsWriter(workdir, step=int(state.step)) as writer,
            stopper.deferred(),
        ):
            state, seconds = train(
                compile_step(training.train_step, training.mesh, shardings),
                state,
                FollowedBatches(batches, int(state.step)),
                options=training.loop,
                mesh=training.mesh,
                checkpoints=checkpoints,
                writer=writer,
                train_seconds=seconds,
                check_owned=check_owned,
                preprocess=training.preprocess,
                hook=hook,
                stop_requested=stopper.requested_at,
                profile=profile,
            )
            stopper.kept = f"step {int(state.step)} is saved"
    if stopper.requested:
        print(f"Saved step {int(state.step)}; the same command continues from it")
        sys.exit(stopper.exit_code)
    return state, RunProgress(None, seconds)


def load_training(training: Training, workdir: Path) -> tuple[TrainState, RunProgress]:
    """Read the newest checkpoint of a run that must have one; nothing is written.

    Args:
        training: What was trained.
        workdir: Folder of the run.

    Returns:
        State and position.

    Raises:
        CheckpointError: If there is no checkpoint or none can be read.
    """
    reader = CheckpointReader(
        workdir / "checkpoints",
        compatibility=training.compatibility,
        mutable_keys={*training.mutable_keys, START},
    )
    found = reader.read_newest(abstract_state(training.init_state, training.shardings()))
    if found is not None:
        return found.state, found.position
    raise CheckpointError(
        f"there is no checkpoint in {workdir}; train first with --mode=train, or give the "
        "--workdir of a run"
    )
