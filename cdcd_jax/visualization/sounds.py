"""Spectrograms in one image, with a WAV file for each sound."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.data.dance.audio import save_wav
from cdcd_jax.io import is_first_host
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.samples import save_image
from cdcd_jax.visualization.spectrograms import draw_spectrogram_grid

MAX_SHOWN = 8
"""Most dances in an image; all of them are written as sound."""


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
    image = draw_spectrogram_grid(
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
        return save_image(image, path)
