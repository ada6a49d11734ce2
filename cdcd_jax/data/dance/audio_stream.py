"""The endless stream of short sounds that trains a codec: shuffled and resumable."""

from typing import TypedDict

import grain
import numpy as np
from jaxtyping import Float32, Int

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.recordings import Recordings
from cdcd_jax.data.pipeline import endless_order


class AudioBatch(TypedDict):
    """One batch of a codec's training.

    Attributes:
        audio: [batch samples] float32, -1..1.
    """

    audio: np.ndarray


def make_audio_iterator(
    recordings: Recordings,
    *,
    samples: int,
    batch_size: int,
    seed: int,
    quietest: float = 0.3,
    process_index: int = 0,
    num_processes: int = 1,
    num_threads: int = 1,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Read random crops ahead of their use, in threads.

    Every recording is visited as often as crops fit in it, each time at another random place, and
    is scaled to a random amplitude; the largest has a peak of 0.95.

    Args:
        recordings: Where they come from.
        samples: Length of a crop; a shorter recording is filled up with silence.
        batch_size: Crops in a batch, of all processes together.
        seed: Seed of order, places and amplitudes, 0..2**32-1.
        quietest: Lowest amplitude, in (0, 1].
        process_index: Which process this is.
        num_processes: How many share the batch.
        num_threads: Threads that prepare batches; 0 prepares each on demand.
        prefetch: Number of batches prepared ahead.

    Returns:
        An endless iterator of ``AudioBatch`` with ``get_state`` and ``set_state``.

    Raises:
        ValueError: If a number is out of range.
    """
    if samples < 1 or batch_size < 1 or batch_size % num_processes:
        raise ValueError(
            f"{samples} samples, batch_size = {batch_size} must be at least 1, the latter a "
            f"multiple of {num_processes} processes"
        )
    if not 0 < quietest <= 1:
        raise ValueError(f"quietest = {quietest} must be in (0, 1]")
    counts = np.maximum(1, (recordings.seconds * SAMPLE_RATE // samples).astype(int))
    recording_of = np.repeat(np.arange(len(counts)), counts)
    rows = batch_size // num_processes
    local = slice(process_index * rows, (process_index + 1) * rows)

    def gather(places: np.ndarray, rng: np.random.Generator) -> AudioBatch:
        where, loudness = rng.random(len(places)), rng.uniform(quietest, 1.0, len(places))
        crops = [
            _crop(recordings.audio(int(recording_of[place])), samples, where[row]) * loudness[row]
            for row, place in list(enumerate(places))[local]
        ]
        return AudioBatch(audio=np.stack(crops).astype(np.float32))

    order = endless_order(len(recording_of), seed=seed)
    dataset = order.batch(batch_size, batch_fn=np.asarray).random_map(gather)
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0
    )
    return iter(dataset.to_iter_dataset(options))


def load_crops(
    recordings: Recordings, chosen: Int[np.ndarray, " crops"], samples: int
) -> Float32[np.ndarray, "crops samples"]:
    """Read the middle of some recordings."""
    return np.stack([_crop(recordings.audio(int(index)), samples, 0.5) for index in chosen])


def _crop(
    audio: Float32[np.ndarray, " samples"], samples: int, where: float
) -> Float32[np.ndarray, " crop"]:
    """Cut out a part at a place 0..1; what is too short ends in silence."""
    start = int(where * max(0, len(audio) - samples + 1))
    cut = audio[start : start + samples]
    return np.pad(cut, (0, samples - len(cut))).astype(np.float32)
