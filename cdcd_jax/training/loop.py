"""The training loop: one for every experiment, every device count and every restart."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from cdcd_jax.distributed.mesh import place_batch, replicated, split_batch
from cdcd_jax.training.checkpoints.manager import Checkpoints, RunProgress
from cdcd_jax.training.metrics import MetricsWriter
from cdcd_jax.training.observers import Observer
from cdcd_jax.training.profiling import Profile, Profiler
from cdcd_jax.training.progress import ProgressBar
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.step import COUNTS, Batch, Metrics, TrainStep


class TrainingDivergedError(Exception):
    """An error that names the step at which the loss or its gradient stopped being finite."""


@runtime_checkable
class BatchIterator(Protocol):
    """The data iterator of the loop; grain's iterators implement it."""

    def __next__(self) -> Mapping[str, np.ndarray]:
        """Return this process's rows of the next batch."""
        ...

    def get_state(self) -> Any:
        """Return the position, made of JSON types."""
        ...

    def set_state(self, state: Any) -> None:
        """Go to a position."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options of the loop: how long to train, and how often to do what.

    Attributes:
        num_steps: Updates in all, counted over all restarts, >= 1.
        log_every: Updates between two reports, >= 1. The loop waits for the device only then.
        checkpoint_every: Updates between two checkpoints, >= 1; there is one at the end as well.
        sample_every: Updates between two calls of the hook that draws samples; 0 for never.

    Raises:
        ValueError: If a number is out of range.
    """

    num_steps: int
    log_every: int = 10
    checkpoint_every: int = 200
    sample_every: int = 0

    def __post_init__(self):
        for name in ("num_steps", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.sample_every < 0:
            raise ValueError(
                f"sample_every = {self.sample_every} must be at least 0; 0 means never"
            )


def compile_step(train_step: TrainStep, mesh: Mesh, shardings: Any = None) -> Any:
    """Compile a step: the state is updated in place, the batch split over the devices.

    Args:
        train_step: One update.
        mesh: Where it is computed.
        shardings: Where each array of the state lives, see ``shard_state``; None for a whole copy
            on every device.

    Returns:
        ``step(state, batch)`` as ``jax.jit`` makes it, to be called or lowered.
    """
    whole = replicated(mesh)
    shardings = whole if shardings is None else shardings

    def step_on_mesh(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # Networks look for this mesh where they say how activations are split.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return train_step(state, batch)

    return jax.jit(
        step_on_mesh,
        donate_argnums=0,
        in_shardings=(shardings, split_batch(mesh)),
        out_shardings=(shardings, whole),
    )


def train(
    train_step: TrainStep,
    state: TrainState,
    batches: BatchIterator,
    *,
    options: LoopOptions,
    mesh: Mesh,
    checkpoints: Checkpoints,
    writer: MetricsWriter,
    train_seconds: float = 0.0,
    check_owned: Callable[[], None] = lambda: None,
    preprocess: Callable[[Batch], Batch] = lambda batch: batch,
    hook: Callable[[TrainState], object] | None = None,
    stop_requested: Callable[[int], bool] = lambda step: False,
    profile: Profile | None = None,
) -> tuple[TrainState, float]:
    """Train until the last step or a requested stop, and save a checkpoint of that step.

    Args:
        train_step: From ``compile_step``.
        state: Fresh or restored; it is donated.
        batches: Positioned at the batch of step ``state.step``.
        options: Length and intervals.
        mesh: Where the state lives and the batches go.
        checkpoints: Where the run is saved.
        writer: Where the metrics go: means since the last report, over steps that were applied.
        train_seconds: Time spent by the run so far, in seconds.
        check_owned: Called before anything is written; raises if the folder has another owner now.
        preprocess: What frozen networks make of a batch on its devices, before the step takes it.
        hook: Called with the state every ``sample_every`` steps; must not keep or change it. Where
            it fails, one warning is printed and the training continues.
        stop_requested: Called after each step, with its number; all hosts must get the same answer.
        profile: Which steps to trace.

    Returns:
        The last state, and the seconds spent training over all restarts, compilation and hooks
        included, as the last checkpoint says too. Its step is less than the last one if the
        training was stopped early.

    Raises:
        TrainingDivergedError: If losses or gradients are not finite at more steps in a row than
            may be skipped; no checkpoint is written then.
        CheckpointError: If a checkpoint cannot be written.
    """
    started = time.perf_counter() - train_seconds
    step, skipped = int(state.step), int(state.skipped)
    pending: list[Metrics] = []
    loss = float("inf")
    images = Observer("the image of samples", again=True)
    with ProgressBar(options.num_steps, step) as bar, Profiler(profile).running() as profiler:
        while step < options.num_steps:
            with profiler.step(step + 1):
                state, metrics = train_step(state, preprocess(place_batch(next(batches), mesh)))
            step += 1
            profiler.taken(step, metrics)
            pending.append(metrics)
            stopping = stop_requested(step) or step == options.num_steps
            saving = stopping or step % options.checkpoint_every == 0
            showing = hook is not None and options.sample_every and step % options.sample_every == 0
            # Up to here nothing has waited for the device. A report waits, and so finds the first
            # bad step before anything is saved or shown.
            if saving or showing or step % options.log_every == 0:
                report = _report(pending)
                pending = []
                loss = report.get("loss", loss)
                check_owned()
                writer.write(step, report)
                total = int(report["skipped"])
                _tell_skipped(bar, step, total - skipped, total)
                skipped = total
                bar.update(step, report)
            if saving:
                train_seconds = time.perf_counter() - started
                checkpoints.save(state, RunProgress(batches.get_state(), train_seconds), loss=loss)
            if showing and hook is not None:
                images.call(hook, state)
            if stopping:
                break
    checkpoints.wait()
    return state, train_seconds


def _report(pending: list[Metrics]) -> dict[str, float]:
    """Fetch the metrics of some steps and average those of the steps that were not skipped.

    The rate and the number of skipped steps are those of the last one. A window in which every step
    was skipped has no means.
    """
    rows = jax.device_get(pending)
    last = rows[-1]
    if int(last["diverged_at"]):
        raise TrainingDivergedError(
            _divergence(int(last["diverged_at"]), int(last["skipped_in_row"]))
        )
    taken = [row for row in rows if np.isfinite(row["loss"]) and np.isfinite(row["grad_norm"])]
    names = [name for name in last if name not in COUNTS] if taken else []
    report = {name: float(np.mean([row[name] for row in taken])) for name in names}
    return report | {name: float(last[name]) for name in ("lr", "skipped")}


def _divergence(step: int, skipped_in_row: int) -> str:
    """Explain the divergence, and what to change."""
    before = "nothing of that step"
    if skipped_in_row:
        before = (
            f"the same holds for the {skipped_in_row} steps before it, so nothing of these steps"
        )
    return (
        f"The loss or its gradient is not finite at step {step}; {before} was applied and the last "
        "checkpoint is untouched. Lower optimizer.lr, or lengthen optimizer.warmup_steps"
    )


def _tell_skipped(bar: ProgressBar, step: int, new: int, total: int) -> None:
    """Print a line above the progress bar where steps were skipped since the last report."""
    if new:
        bar.write(
            f"{new} of the steps up to {step} had a loss or gradient that is not finite and were "
            f"skipped ({total} in all)"
        )
