"""How much a second, and what share of the peak."""

import importlib.util

import pytest

from benchmarks import checkpoint
from benchmarks.all import COMMANDS
from benchmarks.rates import add_rates, peak_flops


def rows():
    return [{"name": "matmul", "median_ms": 2.0}, {"name": "vanilla", "median_ms": 500.0}]


def test_shares_are_of_the_matmul_of_the_same_run(monkeypatch):
    monkeypatch.setattr("benchmarks.rates.peak_flops", lambda kind: 4e12)
    table = rows()
    add_rates(table, {"matmul": 2e9, "vanilla": 1e11}, examples=8, seconds=2.0)
    assert table[0]["mfu"] == pytest.approx(0.25)
    assert table[1]["mfu"] == pytest.approx(0.05)
    assert table[1]["share_of_matmul"] == pytest.approx(0.2)
    assert table[1]["examples_per_s"] == pytest.approx(16.0)
    assert table[1]["music_seconds_per_s"] == pytest.approx(32.0)


def test_without_a_data_sheet_there_is_no_share_of_the_peak():
    table = rows()
    add_rates(table, {"matmul": 2e9, "vanilla": 1e11}, examples=8)
    assert [row["mfu"] for row in table] == ["not measured"] * 2
    assert "music_seconds_per_s" not in table[1]


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("cpu", None),
        ("NVIDIA GeForce RTX 3090", None),
    ],
)
def test_devices_are_known_by_the_names_that_jax_gives_them(kind, peak):
    assert peak_flops(kind) == peak


def test_a_checkpoint_that_is_split_is_saved_and_restored(tmp_path):
    row = checkpoint.measure(tmp_path, megabytes=5, rounds=1)
    assert row["megabytes"] == pytest.approx(4.194304)  # a block of 512 x 512, four times
    assert row["devices"] == 8
    assert 0 < row["blocking_s"] <= row["save_s"]
    assert row["restore_s"] > 0


def test_all_lists_benchmarks_that_exist():
    assert all(importlib.util.find_spec(f"benchmarks.{name}") for name in COMMANDS)
