import numpy as np
import pytest

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.noise_reduction import reduce_noise

SECONDS = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
TONE = 0.3 * np.sin(2 * np.pi * 440 * SECONDS)
PLUCKED = TONE * np.exp(-8 * (SECONDS % 0.5))


def hiss(level):
    return level * np.random.default_rng(0).normal(size=len(SECONDS))


def signal_to_noise(clean, audio):
    return 10 * np.log10(np.sum(clean**2) / np.sum((audio - clean) ** 2))


@pytest.mark.parametrize("clean", [TONE, PLUCKED], ids=["steady", "plucked"])
@pytest.mark.parametrize("level", [0.003, 0.03])
def test_hiss_goes_and_music_stays(clean, level):
    noisy = (clean + hiss(level)).astype(np.float32)
    reduced = reduce_noise(noisy)
    assert reduced.dtype == np.float32
    assert signal_to_noise(clean, reduced) > signal_to_noise(clean, noisy) + 5


@pytest.mark.parametrize("clean", [TONE, PLUCKED], ids=["steady", "plucked"])
def test_clean_music_is_hardly_touched(clean):
    assert signal_to_noise(clean, reduce_noise(clean)) > 60


def test_more_strength_takes_more_away():
    noise = hiss(0.1)
    powers = [
        np.mean(reduce_noise(noise, strength=strength) ** 2) for strength in (0.0, 0.5, 1.0, 3.0)
    ]
    np.testing.assert_allclose(powers[0], np.mean(noise**2), rtol=1e-5)
    assert powers[0] > 2 * powers[1] > 4 * powers[2] > 4 * powers[3]
    # 20 dB is the end of it.
    assert powers[3] == pytest.approx(0.01 * powers[0], rel=0.05)


@pytest.mark.parametrize("samples", [1, 700, 1024, 1025, 44032])
def test_lengths_are_kept_and_silence_stays_silence(samples):
    assert reduce_noise(hiss(0.1)[:samples]).shape == (samples,)
    assert not reduce_noise(np.zeros((2, samples), np.float32)).any()


def test_each_sound_has_its_own_noise():
    sounds = np.stack([TONE + hiss(0.03), PLUCKED]).astype(np.float32)
    together = reduce_noise(sounds)
    np.testing.assert_array_equal(together[0], reduce_noise(sounds[0]))
    np.testing.assert_array_equal(together[1], reduce_noise(sounds[1]))
    np.testing.assert_array_equal(reduce_noise(sounds, strength=0.0), sounds)


def test_silence_around_music_does_not_hide_its_noise():
    clean = np.concatenate([np.zeros(22050), PLUCKED, np.zeros(22050)])
    noisy = np.concatenate([np.zeros(22050), PLUCKED + hiss(0.01), np.zeros(22050)])
    assert signal_to_noise(clean, reduce_noise(noisy)) > signal_to_noise(clean, noisy) + 5


def test_a_negative_strength_is_refused():
    with pytest.raises(ValueError, match="must be 0 or more"):
        reduce_noise(TONE, strength=-1.0)
