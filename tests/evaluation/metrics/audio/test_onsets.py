import numpy as np
import pytest

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio import onsets
from cdcd_jax.evaluation.metrics.audio.onsets import (
    HOP,
    PeakOptions,
    mel_filters,
    onset_frames,
    onset_strength,
    onset_times,
    pick_peaks,
)

TRACKS = ("D2M_high1", "cd3", "cd5", "cd_comp1", "tiktok2", "tiktok3")


def clicks(times, seconds):
    """Short damped tones in silence."""
    audio = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    ramp = np.arange(400)
    for time in times:
        start = round(time * SAMPLE_RATE)
        audio[start : start + 400] += 0.8 * np.exp(-ramp / 80) * np.sin(ramp / 2)
    return audio


@pytest.mark.parametrize("track", TRACKS)
def test_onsets_are_those_of_librosa_0_7_2(golden, track):
    file = golden(f"beats/{track}.npz")
    audio = file["audio_int16"].astype(np.float32) / 32768
    strength = onset_strength(audio)
    assert strength.dtype == np.float32
    np.testing.assert_allclose(strength, file["librosa0.7.2/onset_strength"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(onset_frames(audio), file["librosa0.7.2/onset_frames"])
    np.testing.assert_allclose(onset_times(audio), file["librosa0.7.2/onset_times"], rtol=1e-12)


def test_later_versions_differ_by_the_padding_alone(golden, monkeypatch):
    file = golden("beats/tiktok2.npz")
    audio = file["audio_int16"].astype(np.float32) / 32768
    pad = np.pad
    monkeypatch.setattr(np, "pad", lambda array, width, mode=None: pad(array, width))
    strength = onset_strength(audio)
    np.testing.assert_allclose(strength, file["librosa0.9.2/onset_strength"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(onset_frames(audio), file["librosa0.9.2/onset_frames"])
    assert len(onset_frames(audio)) > len(file["librosa0.7.2/onset_frames"])


def test_long_sounds_are_taken_in_parts_that_do_not_show(monkeypatch):
    noise = np.random.default_rng(0).normal(size=37 * 512).astype(np.float32)
    whole = onsets.mel_decibels(noise)
    monkeypatch.setattr(onsets, "CHUNK", 8)
    np.testing.assert_array_equal(onsets.mel_decibels(noise), whole)


def test_clicks_are_found_where_they_are():
    times = np.array([0.4, 0.9, 1.3, 2.05, 2.5])
    found = onset_times(clicks(times, 3))
    assert found.shape == times.shape
    # A window is four hops long, and the onset somewhere on its way through.
    assert np.abs(found - times).max() < 2.5 * HOP / SAMPLE_RATE


def test_loudness_does_not_matter_until_it_is_beyond_the_dynamic_range():
    audio = clicks([0.4, 1.0], 1.5)
    np.testing.assert_array_equal(onset_frames(audio), onset_frames(audio / 64))
    np.testing.assert_allclose(onset_strength(audio), onset_strength(audio / 64), atol=2e-4)


def test_silence_and_a_steady_sound_have_no_onset():
    assert onset_times(np.zeros(22050, np.float32)).size == 0
    assert not onset_strength(np.zeros(3000, np.float32)).any()
    assert onset_times(np.full(22050, 0.5, np.float32)).size == 0


@pytest.mark.parametrize("samples", [1, 511, 512, 1024, 44032])
def test_there_is_a_frame_for_each_hop_and_one_more(samples):
    audio = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    assert onset_strength(audio).shape == (samples // HOP + 1,)


@pytest.mark.parametrize("audio", [np.zeros(0), np.array([0.0, np.nan]), np.array([np.inf])])
def test_what_is_no_sound_is_refused(audio):
    with pytest.raises(ValueError, match="all of them finite"):
        onset_strength(audio.astype(np.float32))


def plain_peaks(strength, options):
    """Write the definition of a peak out, frame by frame."""
    curve = (strength - strength.min()) / (strength - strength.min()).max()
    chosen = []
    for i, value in enumerate(curve):
        around = curve[max(i - options.pre_maximum, 0) : i + options.post_maximum]
        mean = curve[max(i - options.pre_average, 0) : i + options.post_average].mean()
        waited = not chosen or i > chosen[-1] + options.wait
        if value > 0 and value == around.max() and value >= mean + options.threshold and waited:
            chosen.append(i)
    return chosen


@pytest.mark.parametrize(
    "options",
    [PeakOptions(), PeakOptions(1, 1, 4, 5, 1, 0.07), PeakOptions(3, 2, 6, 2, 4, 0.05)],
)
def test_peaks_follow_their_definition(options):
    generator = np.random.default_rng(1)
    for size in (1, 2, 5, 60):
        for _ in range(20):
            # Eighths, so that equal neighbours and exact thresholds happen and means are exact.
            strength = generator.integers(0, 9, size).astype(np.float32) / 8
            if strength.min() < strength.max():
                assert pick_peaks(strength, options).tolist() == plain_peaks(strength, options)


def test_filters_are_triangles_of_equal_area():
    filters = mel_filters()
    width = SAMPLE_RATE / 2048
    assert filters.shape == (128, 1025)
    # The lowest triangles are three frequencies wide, so their sums are coarse.
    np.testing.assert_allclose(filters[40:].sum(axis=1) * width, 1, atol=0.05)
    peaks = filters.argmax(axis=1) * width
    assert (np.diff(peaks) > 0).all()
    # Slaney's scale reaches 11,025 Hz at 50.9 mels: below 1 kHz are 15/50.9 of the bands.
    assert abs(np.sum(peaks < 1000) / 128 - 15 / 50.9) < 0.01
