import numpy as np
import pytest

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.tempo import (
    estimate_tempo,
    onset_autocorrelation,
    tempo_difference,
)


def click_track(tempo, seconds, *, noise=0.01, eighths=0.0):
    """Click on every beat, and softer between two."""
    audio = noise * np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE))
    ramp = np.arange(400)
    for number, time in enumerate(np.arange(0.1, seconds - 0.03, 30 / tempo)):
        start, loudness = int(time * SAMPLE_RATE), eighths if number % 2 else 1.0
        audio[start : start + 400] += loudness * 0.8 * np.exp(-ramp / 80) * np.sin(ramp / 2)
    return audio.astype(np.float32)


@pytest.mark.parametrize("tempo", [60, 72, 95, 107, 120, 128, 150])
def test_clicks_for_twenty_seconds_within_one_per_cent(tempo):
    assert estimate_tempo(click_track(tempo, 20)) == pytest.approx(tempo, rel=0.01)


@pytest.mark.parametrize("tempo", [72, 95, 107, 120, 150, 180])
def test_clicks_for_two_seconds_within_three_per_cent_but_for_octaves(tempo):
    estimate = estimate_tempo(click_track(tempo, 2))
    assert tempo_difference(float(tempo), estimate) < 0.03 * tempo


@pytest.mark.parametrize("tempo", [140, 155, 170, 175])
@pytest.mark.parametrize("eighths", [0.05, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("seconds", [6, 20])
def test_soft_eighths_are_no_reason_to_count_in_threes(tempo, eighths, seconds):
    estimate = estimate_tempo(click_track(tempo, seconds, eighths=eighths))
    # Twice as fast is as good where both sound alike.
    assert tempo_difference(float(tempo), estimate) < 0.015 * tempo


def test_what_has_no_rhythm_has_no_tempo():
    assert np.isnan(estimate_tempo(np.zeros(44100, np.float32)))
    assert np.isnan(estimate_tempo(np.ones(500, np.float32)))
    assert np.isnan(tempo_difference(np.nan, 120.0))
    assert np.isnan(tempo_difference(120.0, np.nan))


def test_octaves_are_folded_both_ways():
    assert tempo_difference(100.0, 50.0) == tempo_difference(50.0, 100.0) == 0.0
    assert tempo_difference(100.0, 50.0, fold_octaves=False) == 50.0
    assert tempo_difference(100.0, 140.0) == 30.0


def test_autocorrelation_is_the_mean_product_of_partners():
    curve = np.random.default_rng(0).normal(size=11)
    centred = curve - curve.mean()
    expected = [np.mean(centred[lag:] * centred[: 11 - lag]) for lag in range(6)]
    np.testing.assert_allclose(onset_autocorrelation(curve), expected, atol=1e-12)
    between = onset_autocorrelation(curve, oversampling=8)
    np.testing.assert_allclose(between[::8], expected, atol=1e-12)
