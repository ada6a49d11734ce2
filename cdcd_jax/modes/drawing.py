"""From an experiment and its weights to pictures on disk."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.evaluation import pictures
from cdcd_jax.evaluation.real_pictures import spread
from cdcd_jax.training.checkpoints import writing
from cdcd_jax.typing import Params

MAX_CLASSES = 16
"""Rows of a picture of samples; more could not be looked at."""


def draw(
    experiment: Experiment,
    params: Params,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    label: int | None = None,
    **options: Any,
) -> Path:
    """Draw samples of all classes, or of one, and write their picture.

    Of more than ``MAX_CLASSES`` so many are drawn, evenly spread.
    """
    classes = spread(experiment.num_classes, MAX_CLASSES) if label is None else label
    labels = np.resize(classes, num_samples).astype(np.int32)
    tokens = np.asarray(experiment.sample_fn(params, jax.random.key(seed), labels, **options))
    picture = pictures.draw_samples(
        tokens,
        labels,
        decode_fn=experiment.data.codec.decode,
        num_columns=num_samples,
        caption=f"{options['num_steps']} steps, truncation {options['truncation']:g}",
        class_names=experiment.data.class_names,
    )
    with writing(path.parent):
        return pictures.save_picture(picture, path)


def draw_trajectory(
    experiment: Experiment,
    params: Params,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    label: int | None = None,
    **options: Any,
) -> None:
    """Draw one sample of each class, or of one class, on its way out of the masks."""
    classes = spread(experiment.num_classes, min(num_samples, MAX_CLASSES))
    labels = (classes if label is None else np.array([label])).astype(np.int32)
    _, states = experiment.sample_fn(
        params, jax.random.key(seed), labels, return_trajectory=True, **options
    )
    picture = pictures.draw_trajectory(
        np.asarray(states),
        labels,
        decode_fn=experiment.data.codec.decode,
        grid=experiment.data.codec.grid,
        mask_id=experiment.schedule.mask_id,
        caption=f"steps done of {options['num_steps']}, truncation {options['truncation']:g}",
        class_names=experiment.data.class_names,
    )
    with writing(path.parent):
        pictures.save_picture(picture, path)


def describe(seed: int, **sampling: Any) -> str:
    """Name a picture after how it was drawn, so that no other overwrites it.

    >>> describe(0, num_samples=100, label=None, num_steps=50, truncation=0.86)
    'seed0-num_samples100-num_steps50-truncation0.86'
    """
    given = {name: value for name, value in sampling.items() if value is not None}
    return "-".join(f"{name}{value:g}" for name, value in {"seed": seed, **given}.items())
