"""Music generated for dances of the test set, beside the original music, and music edited."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.dance_to_music import DanceInput
from cdcd_jax.data.batch import take_rows
from cdcd_jax.data.dance.audio import SAMPLE_RATE, save_wav
from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.dance.motion import find_joints
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.editing import Original
from cdcd_jax.evaluation.metrics.audio.beats import kinematic_beats
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.tasks.drawing import check_size, describe_steps
from cdcd_jax.tasks.music_scoring import read_truth
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.samples import save_image
from cdcd_jax.visualization.sounds import MAX_SHOWN, show_sounds
from cdcd_jax.visualization.spectrograms import draw_spectrogram_grid

PIXELS_PER_SECOND = 120
MAX_WIDTH = 20_000
"""Pixels of the spectrogram of long music, of which a second gets fewer."""


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


def save_edited_music(
    original: Original, edited: np.ndarray, dance: DanceInput, path: Path, *, caption: str
) -> None:
    """Write before, span and after as spectrograms, one below the other.

    Args:
        original: What was edited.
        edited: Sounds [samples time]; each becomes a WAV file in a folder beside the image.
        dance: What they are for.
        path: The PNG file.
        caption: One line above the image.
    """
    before, takes = original.data[0], edited[:MAX_SHOWN]
    numbers = [f", {number + 1} of {len(edited)}" for number in range(len(takes))]
    labels = [f"after{number if len(edited) > 1 else ''}" for number in numbers]
    image = draw_spectrogram_grid(
        [[before], [before], *([take] for take in takes)],
        dance_beats=[find_beats(dance)] * (2 + len(takes)),
        masked=[None, original.changed, *[None] * len(takes)],
        row_labels=["before", "span", *labels],
        caption=caption,
        width=spectrogram_width(before),
    )
    with writing(path.parent):
        save_image(image, path)
        for number, sound in enumerate(edited):
            save_wav(path.with_suffix("") / f"{number}.wav", sound)


def find_beats(dance: DanceInput) -> np.ndarray:
    """Find the seconds at which a dance has its beats."""
    joints = find_joints(dance.frames)
    beats = kinematic_beats(dance.frames if joints is None else joints, fps=dance.format.fps)
    return beats[beats < dance.seconds]


def spectrogram_width(audio: np.ndarray) -> int:
    """Return how many pixels the spectrogram of a sound is wide."""
    return max(1, min(int(audio.size / SAMPLE_RATE * PIXELS_PER_SECOND), MAX_WIDTH))
