"""Music for eyes and ears: spectrograms in a picture, and a WAV file for each sound beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.data.batch import take_rows
from cdcd_jax.data.dance.audio import save_wav
from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.evaluation.metrics.images.real_images import spread
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.tasks.music_scoring import read_truth
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.samples import save_picture
from cdcd_jax.visualization.spectrograms import draw_spectrogram_grid

MAX_SHOWN = 8
"""Dances in a picture; more could not be looked at. All of them can be listened to."""


def play(
    generator: Generator,
    segments: Segments,
    test: MusicExamples,
    path: Path,
    seed: int,
    *,
    num_samples: int,
    caption: str = "",
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
        num_samples: For how many dances, evenly spread over the set; at most as many as it has.
        caption: One line above the picture.
        **options: Of ``generator.draw``.

    Returns:
        The path.
    """
    codec: Any = generator.codec
    chosen = spread(len(test), num_samples)
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
    return show_sounds(path, columns, names, dance_beats=truth.dance_beats, caption=caption)


def show_sounds(
    path: Path,
    columns: Mapping[str, Any],
    names: Sequence[str],
    *,
    dance_beats: Sequence[np.ndarray] | None = None,
    caption: str = "",
) -> Path:
    """Draw spectrograms, a row for each name, and write every sound to a WAV file.

    Args:
        path: The PNG file; the sounds go into a folder of the same name.
        columns: Sounds [names samples] by what they are.
        names: What each row is.
        dance_beats: Times to mark below each row, in seconds.
        caption: One line above it all.

    Returns:
        The path.
    """
    if not is_first_host():
        return path
    count = min(len(names), MAX_SHOWN)
    picture = draw_spectrogram_grid(
        [[sounds[row] for sounds in columns.values()] for row in range(count)],
        dance_beats=None if dance_beats is None else dance_beats[:count],
        row_labels=names[:count],
        column_labels=list(columns),
        caption=caption,
    )
    with writing(path.parent):
        for what, sounds in columns.items():
            for name, sound in zip(names, sounds, strict=True):
                file = "-".join([name, *what.replace(",", "").split()]).replace("/", "_")
                save_wav(path.with_suffix("") / f"{file}.wav", sound)
        return save_picture(picture, path)
