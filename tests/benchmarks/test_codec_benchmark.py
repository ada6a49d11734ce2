import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_batch_is_encoded_and_decoded(tmp_path):
    path = tmp_path / "out.json"
    options = ["--smoke", "--batches", "1", "2", "--rounds", "1", "--json", str(path)]
    command = [sys.executable, "-m", "benchmarks.codec", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    report = json.loads(path.read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {
        f"{way} float32 {batch}" for way in ("encode", "decode") for batch in (1, 2)
    }
    for name, row in rows.items():
        assert name in done.stdout
        assert all(0 < row[key] < math.inf for key in ("median_ms", "ratio_to_matmul"))
        seconds = row["median_ms"] / 1e3
        assert row["pictures_per_second"] == pytest.approx(row["batch"] / seconds)
    assert report["options"]["batches"] == [1, 2]
    assert {"jax", "device", "load_average", "command"} <= set(report["environment"])
