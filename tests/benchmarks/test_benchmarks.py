import math

import pytest

from benchmarks.compare_settings import format_comparison

SMALL = "--width 16 --heads 2 --length 9 --vocab 12 --batch 2 --negatives 2 --rounds 1"


@pytest.mark.slow
def test_train_step_reports_the_rows_that_are_chosen(run_benchmark, tmp_path):
    names = ("matmul", "vanilla", "step_shared", "step_parallel", "sampler")
    # One block in a loop of one is not compiled a second time to be counted.
    options = f"{SMALL} --layers 1 --unroll 1 --steps 3 --mlp conv --cond-length 3 --cond-dim 4"
    options += f" --only {' '.join(names)}"
    printed, report = run_benchmark("train_step", options, tmp_path / "new" / "out.json")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == set(names)
    for name, row in rows.items():
        assert name in printed
        for key in ("median_ms", "min_ms", "peak_mb", "flops", "bytes"):
            assert math.isfinite(row[key])
            assert row[key] > 0
        assert row["min_ms"] <= row["median_ms"]
    # One network pass more for each negative's own chain, none for the closed forms.
    assert rows["step_parallel"]["flops"] > 1.5 * rows["vanilla"]["flops"]
    assert rows["step_shared"]["flops"] < 1.1 * rows["vanilla"]["flops"]
    assert rows["matmul"]["flops"] == pytest.approx(2 * 1024**3, rel=0.01)
    assert report["options"]["negatives"] == 2
    assert {"jax", "device", "cpu_count", "date", "command"} <= set(report["environment"])


@pytest.mark.slow
def test_operations_of_all_blocks_and_all_steps_are_counted(run_benchmark, tmp_path):
    """XLA counts the body of a loop once; here twice the loop must be about twice the count."""

    def count(layers, steps):
        options = f"{SMALL} --only sampler --layers {layers} --steps {steps} --width 64"
        options += " --condition class --unroll 1"
        _, report = run_benchmark("train_step", options, tmp_path / "out.json")
        return report["rows"][0]["flops"]

    base = count(2, 2)
    assert count(4, 2) > 1.7 * base
    assert count(2, 4) == pytest.approx(2 * base, rel=0.05)


@pytest.mark.slow
def test_a_sweep_of_each_sampler_compiles_at_most_one_program(run_benchmark, tmp_path):
    options = "--layers 1 --width 8 --heads 1 --length 6 --vocab 8 --batch 1 --steps 4"
    options += " --cond-length 3 --cond-dim 4 --calls 2 --rounds 1"
    _, report = run_benchmark("sampler", options, tmp_path / "out.json")
    rows = {row["name"]: row for row in report["rows"]}
    assert {"ancestral", "truncation 0.86", "first_hitting", "with gibbs"} <= set(rows)
    assert all(row["compilations"] <= 1 for row in rows.values())
    assert all(row["ratio_to_ancestral"] > 0 for row in rows.values())


def test_input_pipeline_reports_each_number_of_threads(run_benchmark, tmp_path):
    _, report = run_benchmark(
        "input_pipeline", "--batch 8 --batches 3 --threads 0 1", tmp_path / "out.json"
    )
    assert [row["num_threads"] for row in report["rows"]] == [0, 1]
    assert all(row["batches_per_second"] > 0 for row in report["rows"])


def test_the_code_walk_follows_a_batch_a_prompt_and_the_start(run_benchmark, tmp_path):
    printed, report = run_benchmark("code_walk", "--list batch", tmp_path / "out.json")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"batch", "prompt", "start"}
    assert all(1 < row["files"] < row["functions"] for row in rows.values())
    stops = [line.split() for line in printed.splitlines()[: rows["batch"]["functions"]]]
    assert ["diffusion/loss.py", "evaluate_terms"] in stops
    assert len(set(map(tuple, stops))) == len(stops)
    assert report["sources"]["functions"] > 1000


def test_comparison_shows_mean_and_deviation_over_seeds():
    def summary(accuracy):
        row = {"num_samples": 10, "frechet_distance": 1.0, "num_steps": 5, "truncation": 0.86}
        real = {"num_samples": 9, "num_steps": None, "truncation": None}
        return {
            "bits_per_token": 2.0,
            "train_seconds": 3.0,
            "rows": [
                real | {"name": "real test examples", "accuracy": 0.9},
                row | {"name": "samples", "accuracy": accuracy},
                row | {"name": "samples, labels shuffled", "accuracy": 0.1},
            ],
        }

    lines = format_comparison({"vanilla": [summary(0.7), summary(0.8)]}, 400).splitlines()
    assert "10 samples a seed" in lines[0]
    assert lines[2].split() == ["real", "test", "examples", *4 * ["-"], "90.0%", "-", "-"]
    assert "75.0 ± 7.1%" in lines[3]
    assert "labels shuffled" in lines[4]
    assert "10.0 ± 0.0%" in lines[4]
    assert "seed by seed, 5 steps" in lines[5]
    assert [line.split() for line in lines[6:]] == [
        ["vanilla", "0", "2.0000", "70.0%", "1.00"],
        ["vanilla", "1", "2.0000", "80.0%", "1.00"],
    ]
