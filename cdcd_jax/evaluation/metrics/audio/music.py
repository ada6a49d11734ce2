"""Metrics of music for dances: beats, tempo and genre against the original music."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int, Integer

from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.evaluation.metrics.audio.beats import (
    beat_alignment,
    compare_onsets,
    coverage_and_hit,
    mark_seconds,
)
from cdcd_jax.evaluation.metrics.audio.onsets import HOP, onset_strength, pick_peaks
from cdcd_jax.evaluation.metrics.audio.tempo import strength_tempo, tempo_difference
from cdcd_jax.evaluation.metrics.images.classifier import Classifier, classifier_metric
from cdcd_jax.evaluation.metrics.metric import Metric

MEANS = (
    "beats_coverage",
    "beats_hit",
    "onset_precision",
    "onset_recall",
    "onset_f",
    "beat_alignment",
    "tempo_difference",
)
"""Scores that are averaged over the examples that have them."""


class DanceTruth(NamedTuple):
    """The dances that music is made for, with their own music.

    Attributes:
        audio: [examples samples] the music that was danced to, values -1..1, 22,050 Hz.
        dance_beats: When each dance has its beats, in seconds from the start; see
            ``beats.kinematic_beats``.
        genre: [examples] the genre of each.
    """

    audio: Float32[np.ndarray, "examples samples"]
    dance_beats: Sequence[np.ndarray]
    genre: Integer[np.ndarray, " examples"]


class _Features(NamedTuple):
    onsets: Float64[np.ndarray, " onsets"]  # seconds
    beats: Int[np.ndarray, " seconds"]
    tempo: float


def make_music_metrics(truth: DanceTruth, classifier: Classifier | None) -> list[Metric]:
    """Compare music with the original music, and its genre with a classifier's prediction.

    Args:
        truth: Of all dances that music may be made for; a sample's label is a place in it.
        classifier: See ``genres.fit_genre_classifier``; without it genres are left out.

    Returns:
        One or two metrics of audio; see ``beat_metric`` and ``genre_metric``.

    Raises:
        ValueError: If the parts of ``truth`` are not of the same number of examples.
    """
    genre = [] if classifier is None else [genre_metric(classifier, truth.genre)]
    return [beat_metric(truth), *genre]


def beat_metric(truth: DanceTruth) -> Metric:
    """Score the beats of music made for dances.

    Args:
        truth: Of all dances that music may be made for; a sample's label is a place in it.

    Returns:
        A metric of audio, as long as the real one, whose result has means over the examples of

        - ``beats_coverage`` (>= 0) and ``beats_hit`` (0..1), the published scores;
        - ``onset_precision``, ``onset_recall``, ``onset_f`` (0..1), within 70 ms, one to one;
        - ``beat_alignment`` (0..1) of the dance's beats with the music's onsets;
        - ``tempo_difference`` in beats a minute, half and twice as fast being the same;

        and ``without_beats``, how many examples have real music without any beat. These are left
        out of the first five, where the published code divides by zero. A dance without beats is
        left out of the alignment, music without a tempo, real or made, of the last. A score that
        no example has is not a key.

    Raises:
        ValueError: If the parts of ``truth`` are not of the same number of examples.
    """
    counts = {len(truth.audio), len(truth.dance_beats), len(truth.genre)}
    if len(counts) > 1:
        raise ValueError(
            f"music of {len(truth.audio)} examples, beats of {len(truth.dance_beats)} dances and "
            f"{len(truth.genre)} genres do not belong together; give one of each for each example"
        )

    # The right labels and shuffled ones ask for the same examples.
    @cache
    def real(number: int) -> _Features:
        return _extract(truth.audio[number])

    def extract(audio: np.ndarray) -> list[_Features]:
        if audio.shape[1] != truth.audio.shape[1]:
            raise ValueError(
                f"music of {audio.shape[1]} samples cannot be compared with real music of "
                f"{truth.audio.shape[1]}; make both equally long"
            )
        return [_extract(sound) for sound in audio]

    def update(state: np.ndarray, extracted: list[_Features], labels: np.ndarray) -> np.ndarray:
        rows = [
            _score(real(number), made, truth.dance_beats[number])
            for made, number in zip(extracted, labels.tolist(), strict=True)
        ]
        scores = np.array(rows).reshape(-1, len(MEANS))
        known = ~np.isnan(scores)
        sums = np.where(known, scores, 0.0).sum(axis=0)
        total = np.full(len(MEANS), len(scores))
        return state + np.stack([sums, known.sum(axis=0), total])

    def result(state: np.ndarray) -> dict[str, float]:
        columns = zip(MEANS, *state.tolist(), strict=True)
        means = {name: total / known for name, total, known, _ in columns if known}
        return means | {"without_beats": float(state[2, 0] - state[1, 0])}

    return Metric(
        inputs="audio",
        extract=extract,
        init=lambda share: np.zeros((3, len(MEANS))),
        update=update,
        merge=lambda first_state, second_state: first_state + second_state,
        result=result,
    )


def genre_metric(classifier: Classifier, genre: Integer[np.ndarray, " examples"]) -> Metric:
    """Score the genre of music made for dances.

    Args:
        classifier: See ``genres.fit_genre_classifier``.
        genre: Of each dance that music may be made for; a sample's label is a place in it.

    Returns:
        A metric of audio whose result is that of ``classifier_metric``, its keys after ``genre_``:
        ``genre_accuracy``, with more than five genres ``genre_top5_accuracy``, and
        ``genre_frechet_distance``, small where the genres are as clear and as frequent as in real
        training music.
    """
    metric = classifier_metric(classifier)

    def update(state: Any, extracted: Any, labels: np.ndarray) -> Any:
        return metric.update(state, extracted, genre[labels])

    def result(state: Any) -> dict[str, float]:
        return {f"genre_{name}": value for name, value in metric.result(state).items()}

    return metric._replace(update=update, result=result)


def _extract(sound: np.ndarray) -> _Features:
    strength = onset_strength(sound)
    onsets = pick_peaks(strength) * HOP / SAMPLE_RATE
    num_seconds = -(-sound.size // SAMPLE_RATE)
    return _Features(onsets, mark_seconds(onsets, num_seconds), strength_tempo(strength))


def _score(real: _Features, made: _Features, dance_beats: np.ndarray) -> list[float]:
    """Compute the numbers of ``MEANS``, NaN where the example has none."""
    return [
        *coverage_and_hit(real.beats, made.beats),
        *compare_onsets(real.onsets, made.onsets),
        beat_alignment(dance_beats, made.onsets),
        tempo_difference(real.tempo, made.tempo),
    ]
