import numpy as np
import pytest

from cdcd_jax.data.dance.waveforms import normalise_peak, shuffle_waveform, vary_amplitude


def test_normalised_sound_has_the_peak_and_keeps_its_shape():
    audio = np.random.default_rng(0).normal(0, 0.01, 100).astype(np.float32)
    loud = normalise_peak(audio)
    assert loud.dtype == np.float32
    assert np.abs(loud).max() == pytest.approx(0.95)
    np.testing.assert_allclose(loud / loud[0], audio / audio[0], rtol=1e-5)


def dithered(sound):
    """Round to 16 bits with the usual dither: the sum of two uniform numbers."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (2, len(sound))).sum(axis=0)
    return np.round(sound * 2**15 + noise) / 2**15


@pytest.mark.parametrize(
    "audio",
    [np.zeros(10), np.zeros(0), dithered(np.zeros(5000)), 0.01 + dithered(np.zeros(5000))],
    ids=["zero", "empty", "dither", "offset"],
)
def test_silence_is_refused(audio):
    with pytest.raises(ValueError, match="silent"):
        normalise_peak(audio)


def test_a_quiet_sound_is_no_silence():
    quiet = 1e-3 * np.sin(np.arange(5000) / 10)
    assert np.abs(normalise_peak(dithered(quiet))).max() == pytest.approx(0.95)


def test_amplitudes_fill_their_range():
    rng = np.random.default_rng(0)
    factors = [vary_amplitude(np.ones(1, np.float32), rng).item() for _ in range(500)]
    assert 0.3 <= min(factors) < 0.32
    assert 0.98 < max(factors) <= 1.0
    assert np.mean(factors) == pytest.approx(0.65, abs=0.03)


@pytest.mark.parametrize("length", [16, 19])
def test_chunks_change_places_and_nothing_else(length):
    rng = np.random.default_rng(0)
    audio = np.arange(float(length))
    for _ in range(50):
        shuffled = shuffle_waveform(audio, rng)
        assert not np.array_equal(shuffled, audio)
        assert np.array_equal(np.sort(shuffled), audio)
        # Within a chunk samples follow each other: at most seven places break.
        assert (np.diff(shuffled) != 1).sum() <= 7


def test_orders_are_equally_likely_and_never_the_given_one():
    rng = np.random.default_rng(0)
    orders = [tuple(shuffle_waveform(np.arange(3.0), rng, 3)) for _ in range(2000)]
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 5
    assert max(counts.values()) - min(counts.values()) < 120


def test_too_few_samples_or_chunks_are_refused():
    for length, chunks in ((7, 8), (8, 1)):
        with pytest.raises(ValueError, match="num_chunks"):
            shuffle_waveform(np.zeros(length), np.random.default_rng(0), chunks)
