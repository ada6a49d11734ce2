import math

import pytest


@pytest.mark.slow
def test_every_batch_is_encoded_and_decoded(run_benchmark, tmp_path):
    options = "--smoke --batches 1 2 --rounds 1"
    printed, report = run_benchmark("codec", options, tmp_path / "out.json")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {
        f"{way} float32 {batch}" for way in ("encode", "decode") for batch in (1, 2)
    }
    for name, row in rows.items():
        assert name in printed
        assert all(0 < row[key] < math.inf for key in ("median_ms", "ratio_to_matmul"))
        seconds = row["median_ms"] / 1e3
        assert row["images_per_second"] == pytest.approx(row["batch"] / seconds)
    assert report["options"]["batches"] == [1, 2]
    assert {"jax", "device", "load_average", "command"} <= set(report["environment"])
