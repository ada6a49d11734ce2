import numpy as np
import pytest

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.genres import describe_music, fit_genre_classifier

SECONDS = 2


def piece(generator, genre):
    """Noise bursts, two or three a second, under a low or a high tone: four genres."""
    seconds = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    rate, pitch = (2, 3)[genre % 2], (200, 800)[genre // 2]
    phase = generator.random()
    bursts = np.exp(-30 * ((seconds * rate + phase) % 1) / rate)
    tone = np.sin(2 * np.pi * pitch * (1 + 0.1 * generator.random()) * seconds)
    sound = bursts * generator.normal(size=len(seconds)) * 0.2 + 0.1 * tone
    return (sound * generator.uniform(0.3, 1.0)).astype(np.float32)


@pytest.fixture(scope="module")
def music():
    generator = np.random.default_rng(0)
    genres = np.arange(64) % 4
    return np.stack([piece(generator, genre) for genre in genres]), genres


def test_genres_are_recognised_by_timbre_and_by_rhythm(music):
    audio, genres = music
    classifier = fit_genre_classifier(audio[:40], genres[:40] + 7)
    assert classifier.accuracy(audio[40:], genres[40:] + 7) > 0.9
    assert classifier.inputs == "audio"
    assert classifier.features(audio[40:42]).shape == (2, 4)


def test_labels_that_say_nothing_are_not_learned(music):
    audio, genres = music
    nonsense = np.random.default_rng(1).permutation(genres)
    classifier = fit_genre_classifier(audio[:40], nonsense[:40])
    assert classifier.accuracy(audio[40:], nonsense[40:]) < 0.6


def test_the_description_is_finite_and_of_each_sound_alone(music):
    audio = np.concatenate([music[0][:2], np.zeros_like(music[0][:1])])
    described = describe_music(audio)
    assert np.isfinite(described).all()
    np.testing.assert_array_equal(described[1:2], describe_music(audio[1:2]))
    # Rhythm does not depend on loudness, while the quietest band is above the floor.
    np.testing.assert_allclose(describe_music(audio[:1] / 2)[:, 96:], described[:1, 96:], atol=1e-4)


def test_one_genre_cannot_be_learned(music):
    with pytest.raises(ValueError, match="at least two classes"):
        fit_genre_classifier(music[0][:3], np.zeros(3, np.int32))
