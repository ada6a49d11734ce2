"""Samples of an experiment as files for other people's metrics, see ``evaluation/export.py``."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.evaluation.batches import even_batches
from cdcd_jax.evaluation.export import export_pictures
from cdcd_jax.files import is_first_host
from cdcd_jax.training.checkpoint_folder import writing
from cdcd_jax.typing import Params

TokensFn = Callable[[np.ndarray, int], None]
"""Takes the tokens of a batch [batch length], and how many of them count."""


def check_pictures(experiment: Experiment, path: str) -> Path:
    """Return the path that samples are exported to.

    Raises:
        ValueError: If the samples are no pictures.
    """
    if experiment.segments is not None:
        raise ValueError(f"export = {path} is for pictures, and these samples are music")
    return Path(path)


@contextmanager
def exporting(experiment: Experiment, path: Path | None, total: int) -> Iterator[TokensFn | None]:
    """Decode and write samples as they come, on the first host; all hosts may call it.

    Args:
        experiment: Its codec decodes them.
        path: A folder or an ``.npz`` file; None writes nothing.
        total: How many samples there will be.

    Yields:
        What to call with the tokens of each batch of all hosts, in order; None if nothing is
        written here.

    Raises:
        CheckpointError: If the disk refuses.
    """
    if path is None or not is_first_host():
        yield None
        return
    with writing(path), export_pictures(path, total) as add:
        # Whole batches, since the decoder is compiled for their size.
        yield lambda tokens, count: add(np.asarray(experiment.data.codec.decode(tokens))[:count])


def export_samples(
    experiment: Experiment,
    params: Params,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    label: int | None = None,
    prompts: Sequence[str] = (),
    **options: Any,
) -> None:
    """Draw any number of samples and write them, ``eval.batch_size`` at a time.

    Sample i is of class i modulo their number, or of prompt i, or where there are none of held-out
    caption i, in the same way. All hosts draw together, and the first writes.

    Args:
        experiment: What was trained.
        params: Its parameters.
        path: A folder or an ``.npz`` file, which is not there yet.
        seed: Seed of the samples.
        num_samples: Number of samples.
        label: One class, for all of them.
        prompts: The texts.
        **options: Of ``experiment.sample_fn``.

    Raises:
        CheckpointError: If the disk refuses.
    """
    told, batch_size = experiment.told, experiment.evaluation["batch_size"]
    if told.texts is not None:
        conds = told.texts.tokenize(list(prompts) or list(told.test_texts))
    else:
        conds = np.arange(told.num_classes, dtype=np.int32) if label is None else np.array([label])
    key = jax.random.key(seed)
    with exporting(experiment, path, num_samples) as write:
        for index, rows, count in even_batches(num_samples, batch_size, "samples", progress=True):
            cond = told.embed(conds[rows % len(conds)])
            key_of_batch = jax.random.fold_in(key, index)
            tokens = np.asarray(experiment.sample_fn(params, key_of_batch, cond, **options))
            if write is not None:
                write(tokens, count)
