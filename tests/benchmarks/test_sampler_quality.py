"""Diversity of samples, and the table over seeds."""

import numpy as np
import pytest

from benchmarks.sampler_quality import diversity_metric, draw, format_table, summarise


def diversity(batches):
    metric, state = diversity_metric(), {}
    for tokens, labels in batches:
        state = metric.update(state, metric.extract(np.array(tokens)), np.array(labels))
    return metric.result(state)


def test_diversity_is_the_share_of_positions_in_which_two_samples_differ():
    # Of three samples of label 0 the pairs differ in 1, 2 and 1 of 2 positions; label 1 has one.
    tokens = [[1, 2], [1, 3], [4, 3], [0, 0]]
    found = diversity([(tokens[:2], [0, 0]), (tokens[2:], [0, 1])])
    assert found == {"diversity": pytest.approx((1 / 2 + 2 / 2 + 1 / 2) / 3)}
    assert diversity([([[1, 2]], [0])]) == {}
    assert diversity([([[1, 2]] * 3, [0] * 3)]) == {"diversity": 0.0}


def test_the_table_shows_means_and_deviations_of_each_setting(tmp_path):
    def row(sampler, steps, accuracy):
        return {"sampler": sampler, "num_steps": steps, "accuracy": accuracy, "diversity": 0.5}

    real = {"sampler": "real test examples", "num_steps": None, "accuracy": 0.96}
    rows = [real, row("ancestral", 8, 0.9), row("halton", 8, 0.7)]
    rows += [real, row("ancestral", 8, 0.8), row("halton", 8, 0.9)]
    scores = ["accuracy", "diversity"]
    table = summarise(rows, scores)
    assert format_table(table, scores, 2).splitlines()[2:] == [
        "| sampler | steps | accuracy | diversity |",
        "|---|---|---|---|",
        "| real test examples | - | 96.0 ± 0.0 | - |",
        "| ancestral | 8 | 85.0 ± 7.1 | 0.500 ± 0.000 |",
        "| halton | 8 | 80.0 ± 14.1 | 0.500 ± 0.000 |",
    ]
    draw(table, scores, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
