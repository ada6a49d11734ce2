"""Music generated for dances of the test set, beside the original music."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.data.batch import take_rows
from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.tasks.drawing import check_size, describe_steps
from cdcd_jax.tasks.music_scoring import read_truth
from cdcd_jax.visualization.sounds import show_sounds


def draw_music(
    generator: Generator,
    segments: Segments,
    test: MusicExamples,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    **options: Any,
) -> Path:
    """Make music for dances of the test set, and put it beside what was danced to.

    All hosts make it together, and the first writes.

    Args:
        generator: A model of dances.
        segments: All pieces of the test set.
        test: Those that were prepared.
        path: The PNG file; WAV files go into a folder beside it.
        seed: Seed of the samples.
        num_samples: For how many dances, evenly spaced over the set; at most as many as it has.
        **options: Of ``generator.draw``.

    Returns:
        The path.
    """
    check_size(generator, num_samples)
    codec = generator.codec
    chosen = evenly_spaced(len(test), num_samples)
    cond = take_rows(test.cond, chosen)
    tokens = np.asarray(generator.draw(jax.random.key(seed), cond, **options))
    if not is_first_host():
        return path
    truth = read_truth(segments, test, chosen)
    pieces = test.shards.source_index[chosen]
    columns = {
        "real": truth.audio,
        "real, through the codec": codec.decode(test.take(chosen)),
        "made for the dance": codec.decode(tokens),
    }
    names = [segments.segment_name(int(piece)) for piece in pieces]
    return show_sounds(
        path, columns, names, dance_beats=truth.dance_beats, caption=describe_steps(**options)
    )
