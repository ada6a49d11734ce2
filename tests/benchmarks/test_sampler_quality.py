"""Diversity of samples, and the table over seeds."""

import numpy as np
import pytest

from benchmarks.sampler_quality import compare, diversity_metric, draw, format_table, summarise


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
    # With one sample for each condition, all of them are compared.
    assert diversity([([[1, 2], [1, 3], [4, 3]], [0, 1, 2])]) == {"diversity": pytest.approx(2 / 3)}
    assert diversity([([[1, 2]] * 3, [0] * 3)]) == {"diversity": 0.0}


def test_tables_show_means_and_differences_from_ancestral_sampling(tmp_path):
    def rows(run, steps, **accuracies):
        return [
            {"sampler": name, "num_steps": steps, "run": run, "accuracy": value, "diversity": 0.5}
            for name, value in accuracies.items()
        ]

    real = {"sampler": "real test examples", "num_steps": None, "accuracy": 0.96}
    found = [real, *rows("a", 8, ancestral=0.9, halton=0.8), *rows("a", 4, ancestral=0.7)]
    found += [real, *rows("b", 8, ancestral=0.8, halton=0.9)]
    scores = ["accuracy", "diversity"]
    table = summarise(found, scores)
    assert format_table(table, scores).splitlines() == [
        "accuracy / diversity, by number of steps",
        "",
        "| sampler | 4 | 8 |",
        "|---|---|---|",
        "| real test examples | 96.0 / - | 96.0 / - |",
        "| ancestral | 70.0 / 0.50 | 85.0 / 0.50 |",
        "| halton | - | 85.0 / 0.50 |",
    ]
    assert compare(found, scores).splitlines()[2:] == [
        "| sampler | accuracy | diversity |",
        "|---|---|---|",
        "| halton | +0.0 ± 14.1 | +0.000 ± 0.000 |",
    ]
    draw(table, scores, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
