"""The music of the synthetic dances: drum machines and a bass line, one kit for each genre.

A bar has four beats of four steps. Every beat of every genre has a kick or a snare; what lies
between the beats, and how the instruments sound, is the genre's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from cdcd_jax.data.dance.audio import SAMPLE_RATE

STEPS = 16
"""Of a bar."""

PEAK = 0.95
"""Largest absolute value of the finished music."""

HIT_SECONDS = 0.24
"""Length of a drum's sound: short, so that one hit has died away before the next beat."""


class Kit(NamedTuple):
    """A genre's rhythm and sound.

    Attributes:
        kick: Pattern of a bar: 16 digits, 0 silent .. 9 loudest.
        snare: Likewise.
        hat: Likewise.
        chord: Likewise, of a short chord.
        bass: Likewise.
        kick_hz: Pitch at which the kick ends; it starts four times as high.
        snare_hz: Centre of the snare's noise; its tone is an eighth of that.
        snare_octaves: Width of that noise.
        hat_hz: Centre of the hat's noise.
        hat_seconds: In which the hat falls to 1/e.
        harmonics: Strengths of the bass's harmonics.
        roots: Semitones between which the bass and the chord choose for each bar.
    """

    kick: str
    snare: str
    hat: str
    chord: str
    bass: str
    kick_hz: float
    snare_hz: float
    snare_octaves: float
    hat_hz: float
    hat_seconds: float
    harmonics: tuple[float, ...]
    roots: tuple[int, ...]


SINE, ODD = (1.0,), (1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14, 0.0, 0.11)
SAW = (1.0, 0.5, 0.33, 0.25, 0.2, 0.17, 0.14, 0.13, 0.11, 0.1)
SILENT = "0" * STEPS

KITS = {
    # four on the floor, open hats between the beats
    "house": Kit(
        *("9000900090009000", "0000700000007000", "0070007000700070", SILENT, "0060006000600060"),
        *(48, 1800, 1.0, 8500, 0.05, SAW, (0, 0, 3, -2)),
    ),
    # backbeat: snare on two and four, hats in eighths
    "rock": Kit(
        *("9000000090600000", "0000900000009000", "6040604060406040", SILENT, "7000700070007000"),
        *(70, 3500, 2.0, 6000, 0.03, ODD, (0, 5, 7, 0)),
    ),
    # one heavy snare in the middle of the bar, rolling hats
    "half-time": Kit(
        *("9000500000005040", "0000000090000000", "3334333433343345", SILENT, "9000000000600000"),
        *(40, 900, 1.5, 10000, 0.012, SINE, (0, 0, -4, -5)),
    ),
    # chords between the beats, a dry rim in the middle of the bar
    "reggae": Kit(
        *("7000700090007000", "0000000080000000", "2000200020002000"),
        *("0080008000800080", "7007000070060000"),
        *(58, 2600, 0.3, 7000, 0.02, (1.0, 0.3), (0, 5, 0, 7)),
    ),
    # syncopated kicks and snares, besides the beats
    "breakbeat": Kit(
        *("9060000090700000", "0000800004008400", "7020702070207020", SILENT, "9000004090040000"),
        *(85, 2800, 0.8, 8000, 0.025, (1.0, 0.8, 0.6, 0.5), (0, 3, -2, 5)),
    ),
}


def play_groove(
    rng: np.random.Generator, genre: str, *, tempo: float, downbeat: float, seconds: float
) -> Float32[np.ndarray, " samples"]:
    """Play one song.

    Args:
        rng: Draws tuning, loudness and the bass line.
        genre: A key of ``KITS``.
        tempo: Beats per minute, > 0.
        downbeat: When a bar begins, in seconds, <= 0; the song begins in its middle.
        seconds: Length, > 0.

    Returns:
        Sound whose largest absolute value is 0.95.
    """
    kit = KITS[genre]
    step = 60 / tempo / (STEPS // 4)
    num_bars = int(np.ceil((seconds - downbeat) / (step * STEPS)))
    # Longer than the song by a hit, so that none need be cut while it is added.
    mix = np.zeros(round(num_bars * STEPS * step * SAMPLE_RATE) + SAMPLE_RATE)
    places = np.round(np.arange(num_bars * STEPS) * step * SAMPLE_RATE).astype(int)
    tune = 1 + rng.uniform(-0.05, 0.05, 3)
    drums = (
        (kit.kick, 1.0, _kick(kit.kick_hz * tune[0])),
        (kit.snare, 0.7, _snare(rng, kit.snare_hz * tune[1], kit.snare_octaves)),
        (kit.hat, 0.4, _noise(rng, kit.hat_hz * tune[2], 0.7) * _fall(kit.hat_seconds)),
    )
    for pattern, gain, sound in drums:
        _add_hits(rng, mix, places, pattern, gain * rng.uniform(0.85, 1.15) * sound[None])
    key = rng.uniform(55, 82)
    roots = key * 2.0 ** (rng.choice(kit.roots, num_bars) / 12)
    _add_hits(rng, mix, places, kit.bass, 0.35 * _notes(roots, kit.harmonics, 0.12))
    stabs = np.sum([_notes(roots * 4 * ratio, SAW[:5], 0.05) for ratio in (1, 1.25, 1.5)], axis=0)
    _add_hits(rng, mix, places, kit.chord, 0.15 * stabs)
    start = round(-downbeat * SAMPLE_RATE)
    audio = mix[start : start + round(seconds * SAMPLE_RATE)]
    return (audio * (PEAK / np.abs(audio).max())).astype(np.float32)


def _add_hits(
    rng: np.random.Generator,
    mix: Float[np.ndarray, " samples"],
    places: np.ndarray,
    pattern: str,
    sounds: Float[np.ndarray, "sounds hit"],
) -> None:
    """Add an instrument; each bar takes the sound of its number, or all take the only one."""
    strengths = np.resize(np.array([int(digit) / 9 for digit in pattern]), len(places))
    strengths = strengths * rng.uniform(0.9, 1.1, len(places))
    for position in np.flatnonzero(strengths):
        sound = sounds[position // STEPS % len(sounds)]
        mix[places[position] : places[position] + len(sound)] += strengths[position] * sound


def _times() -> Float[np.ndarray, " hit"]:
    return np.arange(round(HIT_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE


def _fall(seconds: float) -> Float[np.ndarray, " hit"]:
    """Fall to 1/e in some seconds, and to exactly nothing at the end."""
    times = _times()
    return np.exp(-times / seconds) * np.minimum(1, (HIT_SECONDS - times) / 0.02)


def _kick(pitch: float) -> Float[np.ndarray, " hit"]:
    """Fall from four times a pitch to it; the phase is the integral of the frequency."""
    times = _times()
    turns = pitch * times + 3 * pitch * 0.02 * (1 - np.exp(-times / 0.02))
    return np.cos(2 * np.pi * turns) * _fall(0.06)


def _snare(rng: np.random.Generator, centre: float, octaves: float) -> Float[np.ndarray, " hit"]:
    tone = np.sin(2 * np.pi * centre / 8 * _times()) * _fall(0.03)
    return _noise(rng, centre, octaves) * _fall(0.045) + 0.5 * tone


def _noise(rng: np.random.Generator, centre: float, octaves: float) -> Float[np.ndarray, " hit"]:
    """Draw noise whose spectrum is a bell around a frequency, with mean square 0.25."""
    size = len(_times())
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1.0)
    bell = np.exp(-0.5 * (np.log2(frequencies / centre) / octaves) ** 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * bell, size)
    return noise * (0.5 / np.sqrt(np.mean(noise**2)))


def _notes(
    pitches: Float[np.ndarray, " notes"], harmonics: tuple[float, ...], decay: float
) -> Float[np.ndarray, "notes hit"]:
    turns = pitches[:, None] * _times()[None]
    waves = [gain * np.sin(2 * np.pi * n * turns) for n, gain in enumerate(harmonics, 1) if gain]
    attack = np.minimum(1, _times() / 0.003)
    return np.sum(waves, axis=0) * (attack * _fall(decay))[None]
