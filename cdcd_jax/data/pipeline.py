"""The endless stream of training batches: shuffled each epoch and resumable at any step.

Everything a batch holds follows from the seed and the batch's number alone. That makes the stream
resumable by its position, and the same for any number of reading threads or processes.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from cdcd_jax.data.batch import Batch, Examples, take_rows
from cdcd_jax.data.negatives import Negatives, OtherGroups


def endless_order(count: int, *, seed: int) -> grain.MapDataset:
    """Number examples in an order that is shuffled in each epoch, practically without an end.

    Args:
        count: Number of examples, >= 1.
        seed: Seed of the order.

    Returns:
        A grain dataset of numbers 0..count-1. It has 2**53 of them: with the largest
        length of grain, it could not count batches of one.

    >>> order = endless_order(3, seed=0)
    >>> sorted(order[i] for i in range(3, 6))
    [0, 1, 2]
    """
    return grain.MapDataset.range(count).seed(seed).shuffle().repeat(2**53 // count)


def make_train_dataset(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    num_negatives: int = 0,
    others: Negatives | None = None,
    own: Negatives | None = None,
    num_own: int = 0,
    process_index: int = 0,
    num_processes: int = 1,
) -> grain.MapDataset:
    """Describe the endless stream of batches; item ``i`` is the batch of step ``i``.

    Epochs are shuffled differently and follow each other without a gap: a batch may span two, and
    no example is dropped. Of each batch a process holds its contiguous rows, in the order that
    ``jax.make_array_from_process_local_data`` puts together again.

    Args:
        examples: The training set.
        batch_size: Number of examples in a batch, of all processes together.
        seed: Seed of the order and of the negatives, 0..2**32-1.
        num_negatives: N >= 0 inter negatives for each example; 0 leaves ``"negatives"`` out.
        others: Where they are drawn from; by default all groups but the example's own, uniformly
            and with replacement.
        own: Where intra negatives are drawn from that were prepared; None leaves
            ``"intra_negatives"`` out.
        num_own: N >= 1 of these for each example.
        process_index: Which process this is.
        num_processes: How many share the batch.

    Returns:
        A grain dataset of ``Batch``.

    Raises:
        ValueError: If a number is out of range, or negatives are wanted of a single group.

    >>> from cdcd_jax.data.toy.digits import load_digits
    >>> digits = make_train_dataset(load_digits("train"), batch_size=8, seed=0, num_negatives=3)
    >>> {key: array.shape for key, array in digits[1000].items()}
    {'cond': (8,), 'tokens': (8, 64), 'negatives': (8, 3, 64)}
    """
    _check(len(examples), batch_size, seed, num_negatives, process_index, num_processes)
    if others is None and num_negatives:
        others = OtherGroups(examples.group)
    size = batch_size // num_processes
    local = slice(process_index * size, (process_index + 1) * size)

    def gather(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        # All that is drawn is drawn for the whole batch, so that the split over processes changes
        # nothing.
        drawn = {"tokens": indices[local]}
        if others is not None and num_negatives:
            drawn["negatives"] = others.draw(rng, indices, num_negatives=num_negatives)[local]
        cond = take_rows(examples.draw_cond(indices, rng), local)
        if own is not None:
            drawn["intra_negatives"] = own.draw(rng, indices, num_negatives=num_own)[local]
        # All in one call, so that examples on disk are read together.
        together = examples.take(np.concatenate([rows.ravel() for rows in drawn.values()]))
        ends = np.cumsum([rows.size for rows in drawn.values()])
        parts = np.split(together, ends[:-1])
        tokens: Any = {
            name: part.reshape(*rows.shape, examples.length)
            for (name, rows), part in zip(drawn.items(), parts, strict=True)
        }
        return Batch(cond=cond, **tokens)

    order = endless_order(len(examples), seed=seed)
    # The generator is seeded by the seed and the number of the batch.
    return order.batch(batch_size, batch_fn=np.asarray).random_map(gather)


def make_train_iterator(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    num_negatives: int = 0,
    others: Negatives | None = None,
    own: Negatives | None = None,
    num_own: int = 0,
    process_index: int = 0,
    num_processes: int = 1,
    num_threads: int = 1,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Read the stream of ``make_train_dataset`` ahead of its use, in threads.

    The iterator has ``get_state`` and ``set_state``: the state counts the batches handed out, not
    those read ahead, so that a restored iterator continues with exactly the next batch.

    Args:
        examples: The training set.
        batch_size: Number of examples in a batch, of all processes together.
        seed: Seed of the order and of the negatives.
        num_negatives: N >= 0 inter negatives for each example.
        others: Where they are drawn from.
        own: Where prepared intra negatives are drawn from.
        num_own: N of these.
        process_index: Which process this is.
        num_processes: How many share the batch.
        num_threads: Threads that prepare batches; 0 prepares each on demand.
        prefetch: Number of batches prepared ahead.

    Returns:
        An endless iterator of ``Batch``.

    Raises:
        ValueError: As ``make_train_dataset``.
    """
    dataset = make_train_dataset(
        examples,
        batch_size=batch_size,
        seed=seed,
        num_negatives=num_negatives,
        others=others,
        own=own,
        num_own=num_own,
        process_index=process_index,
        num_processes=num_processes,
    )
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0
    )
    return iter(dataset.to_iter_dataset(options))


def iterate_in_order(examples: Examples, *, batch_size: int) -> Iterator[Batch]:
    """Yield every example once, in order, the last batch as small as it comes.

    Args:
        examples: The set, e.g. a test split.
        batch_size: Largest number of examples in a batch.

    Yields:
        Batches without negatives.

    >>> from cdcd_jax.data.toy.digits import load_digits
    >>> [len(batch["cond"]) for batch in iterate_in_order(load_digits("test"), batch_size=200)]
    [200, 182]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    for start in range(0, len(examples), batch_size):
        rows = np.arange(start, min(start + batch_size, len(examples)))
        yield Batch(tokens=examples.take(rows), cond=take_rows(examples.cond, rows))


def _check(
    num_examples: int,
    batch_size: int,
    seed: int,
    num_negatives: int,
    process_index: int,
    num_processes: int,
) -> None:
    if num_examples == 0:
        raise ValueError("the training set is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0..2**32-1, got {seed}")
    if num_negatives < 0:
        raise ValueError(f"num_negatives must be at least 0, got {num_negatives}")
    if not 0 <= process_index < num_processes:
        raise ValueError(
            f"process_index must be in 0..num_processes-1 = 0..{num_processes - 1}, "
            f"got {process_index}"
        )
    if batch_size % num_processes:
        raise ValueError(
            f"batch_size {batch_size} does not divide by the {num_processes} processes; "
            "choose a multiple"
        )
