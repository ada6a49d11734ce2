"""Spectrograms as images, with the beats of music and dance marked."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.onsets import (
    DYNAMIC_RANGE,
    HOP,
    mel_decibels,
    mel_filters,
    onset_times,
)
from cdcd_jax.visualization.grid import FONT_SIZE, GAP, INK, MASK, PAPER

WIDTH, HEIGHT = 480, 160
"""Pixels of the image of one sound, without what is written around it."""

COLOURS = "magma"
ONSET, BEAT = (0, 140, 200), (220, 90, 0)
"""Marks of music's onsets, above an image, and of a dance's beats, below it."""

MARK = 8
QUIETEST_PEAK = -20.0
"""Decibels: what never gets louder is painted as the silence that it is."""

SMALL_FONT, LEGEND_WIDTH = 12, 290
TICKS_HERTZ = (500, 1000, 2000, 4000)


def draw_spectrogram(
    audio: Float[np.ndarray, " samples"],
    *,
    dance_beats: Float[np.ndarray, " beats"] | None = None,
    title: str = "",
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Image.Image:
    """Draw a sound: time from left to right, the mel scale upwards, loud is bright.

    Args:
        audio: Mono, values -1..1, 22,050 Hz.
        dance_beats: Times in seconds to mark below; those out of sight are left out.
        title: One line above.
        width: Of the spectrogram in pixels.
        height: Of the spectrogram in pixels.

    Returns:
        An RGB image, always the same for the same sound. Onsets are marked above, seconds are
        written below, and a legend names the marks.

    Raises:
        ValueError: If there is no sound.

    >>> draw_spectrogram(np.zeros(22050, np.float32), width=100, height=64).mode
    'RGB'
    """
    beats = None if dance_beats is None else [dance_beats]
    return draw_spectrogram_grid(
        [[audio]], dance_beats=beats, caption=title, width=width, height=height
    )


def draw_spectrogram_grid(
    rows: Sequence[Sequence[Float[np.ndarray, " _"]]],
    *,
    dance_beats: Sequence[Float[np.ndarray, " _"]] | None = None,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    caption: str = "",
    masked: Sequence[Bool[np.ndarray, " _"] | None] = (),
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Image.Image:
    """Draw sounds in rows and columns, such as real music, the codec's and made music of a dance.

    Args:
        rows: Sounds, mono, values -1..1, 22,050 Hz; as many in each row.
        dance_beats: Of each row the times in seconds to mark below.
        row_labels: One for each row, or none; written above the row.
        column_labels: One for each column, or none.
        caption: One line above it all.
        masked: Of each row the samples to paint as [MASK] (blue) instead, or None.
        width: Of one spectrogram in pixels.
        height: Of one spectrogram in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is no sound, or rows, labels and beats are not as many as they should.
    """
    columns = len(rows[0]) if rows else 0
    if columns == 0 or any(len(row) != columns for row in rows):
        raise ValueError("spectrograms need rows with as many sounds in each, one or more")
    for name, given, count in (
        ("row labels", row_labels, len(rows)),
        ("column labels", column_labels, columns),
        ("dances", dance_beats or (), len(rows)),
        ("masks", masked, len(rows)),
    ):
        if len(given) not in (0, count):
            raise ValueError(
                f"{len(rows)} x {columns} sounds need {count} {name}, not {len(given)}"
            )
    line, small = FONT_SIZE + 2 * GAP, ImageFont.load_default(SMALL_FONT)
    left = int(small.getlength("0.5 kHz")) + 3 * GAP
    step_x, step_y = left + width + 2 * GAP, height + 2 * MARK + SMALL_FONT + 4 * GAP
    above = line * bool(row_labels)
    top = line * (1 + bool(column_labels))
    font = ImageFont.load_default(FONT_SIZE)
    right = max(columns * step_x, int(font.getlength(caption)) + LEGEND_WIDTH)
    canvas = Image.new("RGB", (right, top + len(rows) * (step_y + above)), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), caption, INK, font)
    _draw_legend(pen, canvas.width - 2 * GAP, small, dance=dance_beats is not None)
    for column, label in enumerate(column_labels):
        pen.text((column * step_x + left, top - GAP), label, INK, font, anchor="ld")
    for index, row in enumerate(rows):
        y = top + index * (step_y + above) + above
        if row_labels:
            pen.text((GAP, y - GAP), row_labels[index], INK, font, anchor="ld")
        beats = np.zeros(0) if dance_beats is None else dance_beats[index]
        for column, audio in enumerate(row):
            box = (column * step_x + left, y + MARK + GAP, width, height)
            _draw_one(canvas, audio, beats, box, masked[index] if masked else None)
    return canvas


def _draw_one(
    canvas: Image.Image,
    audio: np.ndarray,
    beats: np.ndarray,
    box: tuple[int, int, int, int],
    masked: np.ndarray | None = None,
) -> None:
    """Draw a sound into a box (left, top, width, height) of the canvas, and its marks around it."""
    left, top, width, height = box
    colours = _colours(audio)
    if masked is not None:
        middles = np.minimum(np.arange(colours.shape[1]) * HOP, audio.size - 1)
        colours[:, masked[middles]] = MASK
    image = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    canvas.paste(image, (left, top))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(SMALL_FONT)

    def place(seconds: float) -> float:
        # A frame is as wide as a step and centred on its time.
        return left + (seconds * SAMPLE_RATE / HOP + 0.5) / colours.shape[1] * width

    bottom, length = top + height, audio.size / SAMPLE_RATE
    onsets = onset_times(audio)
    if masked is not None:
        onsets = onsets[~masked[np.minimum((onsets * SAMPLE_RATE).astype(int), audio.size - 1)]]
    for time in onsets:
        _draw_mark(pen, place(time), top - 1, up=False)
    for time in beats[(beats >= 0) & (beats < length)]:
        _draw_mark(pen, place(time), bottom + 1, up=True)
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 1e9) if length / step <= 8)
    for time in np.arange(0.0, length, step):
        x, y = place(time), bottom + MARK + GAP
        pen.line([(x, bottom), (x, bottom + 3)], INK)
        pen.text((x, y), f"{time:g} s", INK, font, anchor="la" if time == 0 else "ma")
    loudest = np.argmax(mel_filters(), axis=1) * SAMPLE_RATE / 2 / (mel_filters().shape[1] - 1)
    for hertz in TICKS_HERTZ:
        y = (
            bottom
            - np.interp(hertz, loudest, np.arange(len(loudest)) + 0.5) / len(loudest) * height
        )
        label = f"{hertz / 1000:g} kHz"
        pen.line([(left - 3, y), (left, y)], INK)
        pen.text((left - 3 - GAP, y), label, INK, font, anchor="rm")


def _colours(audio: np.ndarray) -> UInt8[np.ndarray, "bands frames 3"]:
    """Paint the spectrogram, a pixel for each band and frame, high bands first."""
    decibels = mel_decibels(audio)[::-1]
    peak = max(float(decibels.max()), QUIETEST_PEAK)
    levels = np.clip((decibels - peak) / DYNAMIC_RANGE + 1, 0.0, 1.0)
    return matplotlib.colormaps[COLOURS](levels, bytes=True)[..., :3]


def _draw_mark(pen: ImageDraw.ImageDraw, x: float | int, y: int, *, up: bool) -> None:
    """Draw a triangle whose point is at x, y: a beat's points up, an onset's down."""
    base = y + MARK - 1 if up else y - MARK + 1
    pen.polygon([(x, y), (x - MARK / 2, base), (x + MARK / 2, base)], BEAT if up else ONSET)


def _draw_legend(
    pen: ImageDraw.ImageDraw,
    right: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    dance: bool,
) -> None:
    for up, name in [(True, "beat of the dance")] * dance + [(False, "onset of the music")]:
        middle = GAP + FONT_SIZE // 2
        pen.text((right, middle), name, INK, font, anchor="rm")
        right -= int(font.getlength(name)) + MARK
        _draw_mark(pen, right, middle + MARK // 2 * (-1 if up else 1), up=up)
        right -= 3 * MARK
