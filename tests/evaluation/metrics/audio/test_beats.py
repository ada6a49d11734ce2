import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd_jax.evaluation.metrics.audio.beats import (
    beat_alignment,
    beats_per_second,
    compare_onsets,
    coverage_and_hit,
    kinematic_beats,
)
from tests.support.golden_files import find_golden


def test_published_scores_of_published_beats():
    published = json.loads(find_golden("beats/beat_scores.json").read_text())
    for case in published["random_vectors"]:
        scores = coverage_and_hit(np.array(case["gt"]), np.array(case["syn"]))
        assert tuple(scores) == tuple(case["scores"])
    assert len(published["random_vectors"]) > 3


def test_published_scores_from_published_sound(golden):
    published = json.loads(find_golden("beats/beat_scores.json").read_text())
    pairs = [pair for pair in published["pairs"] if pair["librosa"] == "0.7.2"]
    tracks = {name for pair in pairs for name in (pair["gt"], pair["syn"])}
    beats = {}
    for name in tracks:
        audio = golden(f"beats/{name}.npz")["audio_int16"].astype(np.float32) / 32768
        beats[name] = beats_per_second(audio)
    assert pairs
    for pair in pairs:
        assert beats[pair["gt"]].tolist() == pair["gt_beats"]
        assert tuple(coverage_and_hit(beats[pair["gt"]], beats[pair["syn"]])) == tuple(
            pair["scores"]
        )


def test_music_without_beats_has_no_score():
    assert np.isnan(coverage_and_hit(np.array([0, 0]), np.array([1, 0]))).all()
    assert tuple(coverage_and_hit(np.array([1, 0]), np.array([0, 0]))) == (0.0, 0.0)
    with pytest.raises(ValueError, match="beats of 2 and of 3 seconds"):
        coverage_and_hit(np.array([1, 0]), np.array([1, 0, 0]))


def test_a_second_begun_counts():
    assert beats_per_second(np.zeros(2 * 22050, np.float32)).tolist() == [0, 0]
    assert beats_per_second(np.zeros(2 * 22050 + 1, np.float32)).tolist() == [0, 0, 0]


def greatest_matching(first, second, tolerance):
    """Try all ways to pair the shorter list with places of the longer one."""
    if len(first) > len(second):
        first, second = second, first
    close = np.abs(np.subtract.outer(first, second)) <= tolerance
    return max(
        sum(close[i, j] for i, j in enumerate(places))
        for places in itertools.permutations(range(len(second)), len(first))
    )


times = st.lists(st.integers(0, 30), max_size=5).map(lambda ticks: np.sort(ticks) / 16.0)


@given(times, times, st.sampled_from([0.0, 0.0625, 0.125, 0.5]))
@settings(max_examples=150, deadline=None)
def test_no_matching_is_greater(first, second, tolerance):
    greatest = greatest_matching(first, second, tolerance)
    for real, made in ((first, second), (second, first)):
        recall = compare_onsets(real, made, tolerance=tolerance).recall
        assert recall * len(real) == pytest.approx(greatest) or not len(real)


def test_sounding_all_the_time_costs_precision():
    real = np.array([0.5, 1.0, 1.5])
    everywhere = np.arange(0, 2, 0.05)
    assert compare_onsets(real, real) == (1.0, 1.0, 1.0)
    precision, recall, f_measure = compare_onsets(real, everywhere)
    assert (precision, recall) == (3 / 40, 1.0)
    assert f_measure == pytest.approx(2 * precision * recall / (precision + recall))
    assert compare_onsets(real, np.zeros(0)) == (0.0, 0.0, 0.0)
    assert np.isnan(compare_onsets(np.zeros(0), real)).all()


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_a_pendulum_pauses_where_it_turns(fps):
    seconds = np.arange(0, 6, 1 / fps)
    swing = np.sin(np.pi * seconds)  # turns at 0.5, 1.5, ...
    joints = np.zeros((len(seconds), 2, 3))
    joints[:, :, 0] = swing[:, None]
    beats = kinematic_beats(joints, fps=fps)
    expected = np.arange(0.5, 5.6)
    assert beats.shape == expected.shape
    assert np.abs(beats - expected).max() <= 0.5 / fps + 1e-9
    # One joint is no different from the same features.
    np.testing.assert_array_equal(kinematic_beats(joints[:, 0], fps=fps), beats)


def test_a_halt_is_one_beat_in_its_middle():
    position = np.concatenate([np.linspace(0, 1, 61), np.ones(58), np.linspace(1, 2, 61)])
    beats = kinematic_beats(position[:, None, None] * np.ones(3), fps=60.0)
    np.testing.assert_allclose(beats, [89.5 / 60])
    assert kinematic_beats(np.zeros((2, 4)), fps=60.0).size == 0
    assert kinematic_beats(np.zeros((50, 4)), fps=60.0).size == 0


def test_alignment_follows_the_equation():
    dance, music = np.array([0.5, 1.0, 2.0]), np.array([0.52, 0.9, 5.0])
    distances = np.array([0.02, 0.1, 1.1])
    expected = np.exp(-(distances**2) / (2 * 0.05**2)).mean()
    assert beat_alignment(dance, music) == pytest.approx(expected, rel=1e-12)
    # From the dance to the music: beats of the music that no dancer marks cost nothing.
    assert beat_alignment(dance, np.concatenate([dance, music])) == 1.0
    assert beat_alignment(np.concatenate([dance, music]), dance) < 1.0
    assert beat_alignment(dance, np.zeros(0)) == 0.0
    assert np.isnan(beat_alignment(np.zeros(0), music))
