"""``--start_from``: initial weights from a published checkpoint or another run."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import name_leaves
from cdcd_jax.distributed.shard_batch import place_arrays
from cdcd_jax.experiment.experiment import Experiment
from cdcd_jax.experiment.transfer import Taken, take_arrays
from cdcd_jax.training.run import START
from cdcd_jax.training.state import TrainState
from cdcd_jax.typing import Params

UNSEEN = {
    "denoiser.num_heads": None,
    "denoiser.activation": "gelu2",
    "denoiser.timestep": "table",
    "denoiser.class_norm": "layer",
    "condition.num_heads": None,
}
"""Keys whose values do not follow from the arrays, and their defaults."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The weights that a fresh run starts from.

    Attributes:
        path: As it was given.
        arrays: By their names within the parameters; empty where the run is already on its way.
        unseen: Values by ``section.key`` that the weights need and that do not follow from the
            arrays.
        null_class: Whether the last row of its class table is the null class.
        vocabulary: Fingerprint of what the tokens of its texts mean, if it learned to read texts.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    unseen: Mapping[str, Any]
    null_class: bool = False
    vocabulary: str | None = None


def start_experiment(
    experiment: Experiment, start: Start, *, report: Callable[[str], Any]
) -> Experiment:
    """Start a fresh run of an experiment from weights.

    Args:
        experiment: The run.
        start: From ``read_start``.
        report: Called with each line on what is taken and what is new.

    Returns:
        The experiment; its checkpoints say what it started from.

    Raises:
        ValueError: If the two networks share no array, or a value that does not follow from the
            arrays differs.
    """
    training = experiment.training
    known = {**training.compatibility, START: start.path.name}
    if not start.arrays:
        training = dataclasses.replace(training, compatibility=known)
        return dataclasses.replace(experiment, training=training)
    shapes = name_leaves(jax.eval_shape(experiment.model.init, jax.random.key(0)))
    theirs = _readable(start, experiment)
    taken = take_arrays(
        theirs,
        shapes,
        num_classes=experiment.conditioned.conditioning.num_classes,
        null_class=start.null_class,
    )
    _check_taken(start, taken, experiment.config)
    for line in _describe(start, taken, shapes):
        report(line)
    training = dataclasses.replace(
        training, compatibility=known, start=lambda state: _put(start, taken, state)
    )
    return dataclasses.replace(experiment, training=training)


def _readable(start: Start, experiment: Experiment) -> dict[str, np.ndarray]:
    """Drop the table of tokens where the vocabularies of texts differ."""
    vocabulary = experiment.conditioned.conditioning.fingerprint
    if not vocabulary or start.vocabulary in (None, vocabulary):
        return start.arrays
    return {name: a for name, a in start.arrays.items() if name != "condition/encoder/token"}


def _check_taken(start: Start, taken: Taken, config: Mapping[str, Any]) -> None:
    # The bias of the logits has the number of codes alone, whatever the network.
    if all(array.ndim < 2 for array in taken.arrays.values()):
        raise ValueError(
            f"start_from = {start.path} has no weights in common with this configuration "
            f"({taken.new[0]}); set the section denoiser to its network"
        )
    for key, value in start.unseen.items():
        section, name = key.split(".")
        ours = config[section].get(name, UNSEEN[key])
        concerned = any(part.startswith(f"{section}/") for part in taken.arrays)
        if concerned and ours is not None and ours != value:
            raise ValueError(
                f"{key} = {ours}, but the weights of {start.path} need {value}, which no array "
                f"tells; give --config.{key}={value}"
            )


def _describe(start: Start, taken: Taken, shapes: Mapping[str, Any]) -> list[str]:
    sizes = {name: int(np.prod(leaf.shape)) for name, leaf in shapes.items()}
    share = sum(sizes[name] for name in taken.arrays) / sum(sizes.values())
    lines = [
        f"Starting from {start.path}: {len(taken.arrays)} of {len(shapes)} arrays are taken, "
        f"{100 * share:.2f} % of the parameters; the rest, the optimizer and the average are new"
    ]
    lines += [f"  adapted: {sentence}" for sentence in taken.adapted]
    lines += [f"  new: {sentence}" for sentence in taken.new]
    if taken.unused:
        lines.append(f"  not used: {', '.join(taken.unused)}")
    return lines


def _put(start: Start, taken: Taken, state: TrainState) -> TrainState:
    """Replace arrays of a fresh state by the transferred ones, and free these."""

    def place(params: Params) -> Params:
        # Twice, for parameters and average: the step donates both.
        named = name_leaves(params)
        for name, array in taken.arrays.items():
            named[name] = place_arrays(array.astype(named[name].dtype), named[name].sharding)
        return jax.tree.unflatten(jax.tree.structure(params), list(named.values()))

    params, average = place(state.params), place(state.ema_params)
    for arrays in (taken.arrays, start.arrays):
        arrays.clear()
    return dataclasses.replace(state, params=params, ema_params=average)
