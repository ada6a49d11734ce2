import numpy as np
import pytest

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.visualization.spectrograms import (
    BEAT,
    ONSET,
    draw_spectrogram,
    draw_spectrogram_grid,
)

SECONDS = np.arange(SAMPLE_RATE) / SAMPLE_RATE
TONE = (0.5 * np.sin(2 * np.pi * 1000 * SECONDS)).astype(np.float32)
SILENCE = np.zeros_like(TONE)


def click(time):
    audio = SILENCE.copy()
    ramp = np.arange(400)
    audio[round(time * SAMPLE_RATE) :][:400] = np.exp(-ramp / 80) * np.sin(ramp / 2)
    return audio


def count(image, colour):
    return int(np.all(np.asarray(image) == colour, axis=-1).sum())


def columns(image, colour):
    """Where a colour is, without the legend above."""
    return np.flatnonzero(np.all(np.asarray(image)[22:] == colour, axis=-1).any(axis=0))


def test_a_tone_is_bright_at_its_height():
    pixels = np.asarray(draw_spectrogram(TONE, width=200, height=128)).astype(int)
    brightness = pixels.sum(axis=-1)
    box = brightness[:, 60:220]
    rows = np.flatnonzero((box > 600).mean(axis=1) > 0.9)
    paper = np.flatnonzero((box == 765).mean(axis=1) > 0.9)
    top = np.flatnonzero(np.diff(paper) > 100)[0]
    # 1 kHz is 15 of 50.9 mels, so 29% of the way up.
    first, last = paper[top] + 1, paper[top + 1] - 1
    inside = [row for row in rows if first <= row <= last]
    assert np.mean([(last - row) / (last - first) for row in inside]) == pytest.approx(
        0.29, abs=0.03
    )


def test_marks_stand_at_their_times():
    size = {"width": 430, "height": 64}
    early, late = (draw_spectrogram(click(time), **size) for time in (0.25, 0.75))
    # Half a second is half of 44 frames, each 430/44 pixels wide.
    moved = columns(late, ONSET).mean() - columns(early, ONSET).mean()
    assert moved == pytest.approx(0.5 * SAMPLE_RATE / 512 * 430 / 44, abs=430 / 44 + 1)
    beat = draw_spectrogram(click(0.5), dance_beats=np.array([0.5, 7.0]), **size)
    assert columns(beat, BEAT).mean() == pytest.approx(columns(beat, ONSET).mean(), abs=25)
    assert count(early, BEAT) == 0


def test_silence_is_dark_without_onsets():
    image = draw_spectrogram(SILENCE, width=300, height=100)
    assert count(image, (0, 0, 3)) > 0.95 * 300 * 100


def test_the_same_sound_gives_the_same_image():
    first, second = (draw_spectrogram(TONE, title="1 kHz").tobytes() for _ in range(2))
    assert first == second


def test_a_grid_has_a_row_for_each_dance():
    size = {"width": 120, "height": 60}
    beats = [np.array([0.2]), np.array([0.2, 0.7])]
    labels = {"row_labels": ["dance 1", "dance 2"], "column_labels": ["real", "made", "codec"]}
    rows = [[TONE, SILENCE, TONE]] * 2
    image = draw_spectrogram_grid(rows, dance_beats=beats, caption="beats", **labels, **size)
    half = draw_spectrogram_grid([row[:1] for row in rows], **size)
    assert image.width > 2 * 120 + half.width - 300
    triangle = count(draw_spectrogram_grid([[TONE]], dance_beats=beats[:1], **size), BEAT) // 2
    assert count(image, BEAT) == pytest.approx(triangle * (1 + 3 * 3), rel=0.2)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([], {}, "as many sounds in each"),
        ([[]], {}, "as many sounds in each"),
        ([[TONE], [TONE, TONE]], {}, "as many sounds in each"),
        ([[TONE]], {"row_labels": ["a", "b"]}, "need 1 row labels, not 2"),
        ([[TONE]], {"column_labels": ["a", "b"]}, "need 1 column labels, not 2"),
        ([[TONE]], {"dance_beats": [np.zeros(1)] * 2}, "need 1 dances, not 2"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        draw_spectrogram_grid(rows, **labels)
