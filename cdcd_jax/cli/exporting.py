"""Export of samples to files for other evaluation code, see ``visualization/export.py``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.evaluation.batches import even_batches
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.export import export_images

TokensFn = Callable[[np.ndarray, int], None]
"""Takes the tokens of a batch [batch length], and how many of them count."""


@contextmanager
def exporting(generator: Generator, path: Path | None, total: int) -> Iterator[TokensFn | None]:
    """Decode and write samples as they come, on the first host; all hosts may call it.

    Args:
        generator: Its codec decodes them.
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
    with writing(path), export_images(path, total) as add:
        # Whole batches, since the decoder is compiled for their size.
        yield lambda tokens, count: add(np.asarray(generator.codec.decode(tokens))[:count])


def export_samples(
    generator: Generator,
    path: Path,
    seed: int,
    *,
    batch_size: int,
    request: Any = None,
    num_samples: int,
    **options: Any,
) -> None:
    """Draw any number of samples and write them, ``batch_size`` at a time.

    Sample i is of request i modulo their number. All hosts draw together, and the first writes.

    Args:
        generator: What the samples are drawn from.
        path: A folder or an ``.npz`` file, which is not there yet.
        seed: Seed of the samples.
        batch_size: Samples at a time.
        request: Classes or texts; all classes or held-out captions if None.
        num_samples: Number of samples.
        **options: Of ``generator.draw``.

    Raises:
        CheckpointError: If the disk refuses.
    """
    conds = generator.encode_request(request)
    key = jax.random.key(seed)
    with exporting(generator, path, num_samples) as write:
        for index, rows, count in even_batches(num_samples, batch_size, "samples", progress=True):
            key_of_batch = jax.random.fold_in(key, index)
            tokens = np.asarray(generator.draw(key_of_batch, conds[rows % len(conds)], **options))
            if write is not None:
                write(tokens, count)
