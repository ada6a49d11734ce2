import numpy as np
import pytest

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.batches import own_share
from cdcd_jax.evaluation.metrics.audio.genres import fit_genre_classifier
from cdcd_jax.evaluation.metrics.audio.music import (
    DanceTruth,
    beat_metric,
    genre_metric,
    make_music_metrics,
)
from cdcd_jax.evaluation.metrics.metric import score_examples


def clicks(times, seconds=2):
    audio = np.zeros(seconds * SAMPLE_RATE, np.float32)
    ramp = np.arange(400)
    for time in times:
        start = round(time * SAMPLE_RATE)
        audio[start : start + 400] += 0.8 * np.exp(-ramp / 80) * np.sin(ramp / 2)
    return audio


@pytest.fixture(scope="module")
def truth():
    beats = [np.array([0.3, 0.8, 1.3, 1.8]), np.array([0.4, 0.75, 1.1, 1.45, 1.8]), np.array([1.5])]
    audio = np.stack([*(clicks(times) for times in beats), clicks([])])
    return DanceTruth(audio, [*beats, np.array([1.0])], np.array([0, 1, 0, 1], np.int32))


def run(metrics, audio, *labellings, batch=2):
    parts = range(0, len(audio), batch)
    batches = [
        ({"audio": audio[at : at + batch]}, [labels[at : at + batch] for labels in labellings])
        for at in parts
    ]
    return score_examples(
        metrics, own_share(len(audio), 10), batches, num_labellings=len(labellings)
    )


def test_real_music_is_its_own_music(truth):
    right, shuffled = run([beat_metric(truth)], truth.audio, np.arange(4), np.array([1, 0, 3, 2]))
    assert right["without_beats"] == 1
    for name in ("beats_coverage", "beats_hit", "onset_precision", "onset_recall", "onset_f"):
        assert right[name] == 1.0
    assert right["tempo_difference"] == 0.0
    # A detected onset is a frame of 23 ms or so from the click; the silent example counts as 0.
    assert 0.6 < right["beat_alignment"] <= 0.75
    assert shuffled["onset_f"] < 0.6
    assert shuffled["beat_alignment"] < 0.5 * right["beat_alignment"]
    assert shuffled["tempo_difference"] > 10


def test_means_are_over_the_examples_that_have_a_score(truth):
    made = np.stack([clicks([0.3, 1.3]), clicks([]), clicks([0.5, 1.5]), clicks([0.5])])
    (result,) = run([beat_metric(truth)], made, np.arange(4))
    # The real music has beats in the seconds (1 1), (1 1), (0 1) and none.
    assert result["beats_coverage"] == pytest.approx((1 + 0 + 2) / 3)
    assert result["beats_hit"] == pytest.approx((1 + 0 + 1) / 3)
    assert result["onset_precision"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert result["onset_recall"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert result["without_beats"] == 1


def test_parts_merge_to_the_whole(truth):
    metric = beat_metric(truth)
    labels = np.array([2, 0, 1, 3])
    whole = metric.update(metric.init(4), metric.extract(truth.audio), labels)
    states = [
        metric.update(metric.init(2), metric.extract(truth.audio[part]), labels[part])
        for part in (slice(0, 1), slice(1, 4))
    ]
    np.testing.assert_allclose(metric.merge(*states), whole)
    empty = metric.update(metric.init(0), metric.extract(truth.audio[:0]), labels[:0])
    np.testing.assert_array_equal(metric.merge(whole, empty), whole)


def test_scores_that_nobody_has_are_left_out(truth):
    still = truth._replace(
        audio=np.zeros_like(truth.audio), dance_beats=[np.zeros(0) for _ in truth.dance_beats]
    )
    (result,) = run([beat_metric(still)], truth.audio, np.arange(4))
    assert result == {"without_beats": 4.0}


def test_genres_are_looked_up_by_example(truth):
    generator = np.random.default_rng(0)
    genre = np.arange(20) % 2
    times = [np.arange(0.1, 1.9, (0.5, 0.35)[each]) + generator.random() / 20 for each in genre]
    audio = np.stack([clicks(each) for each in times])
    classifier = fit_genre_classifier(audio, genre)
    metric = genre_metric(classifier, truth.genre)
    right, wrong = run([metric], truth.audio[:2], np.array([0, 1]), np.array([1, 2]))
    assert right["genre_accuracy"] == 1.0
    assert wrong["genre_accuracy"] == 0.0
    assert "genre_frechet_distance" in right
    assert [each.inputs for each in make_music_metrics(truth, classifier)] == ["audio", "audio"]
    assert len(make_music_metrics(truth, None)) == 1


def test_what_does_not_belong_together_is_refused(truth):
    with pytest.raises(ValueError, match="3 genres do not belong together"):
        beat_metric(truth._replace(genre=truth.genre[:3]))
    with pytest.raises(ValueError, match="make both equally long"):
        beat_metric(truth).extract(truth.audio[:, :-1])
