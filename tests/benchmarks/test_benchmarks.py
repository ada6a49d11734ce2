import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = "--layers 2 --width 16 --heads 2 --vocab 12 --batch 2 --steps 3 --negatives 2 --rounds 1"


def run(module, *arguments):
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["--length 9 --mlp conv --dtype bfloat16", "--length 10 --remat"])
def test_train_step_reports_every_row(tmp_path, extra):
    path = tmp_path / "report" / "out.json"
    options = f"{SMALL} {extra} --cond-length 3 --cond-dim 4 --chains-per-pass 1"
    printed = run("train_step", *options.split(), "--json", str(path))
    report = json.loads(path.read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {
        "vanilla",
        "step_shared",
        "sample",
        "step_parallel",
        "sampler",
        "sampler_truncated",
        "matmul",
    }
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
    assert {"jax", "device", "cpu_count", "date", "argv"} <= set(report["environment"])


def test_input_pipeline_reports_each_number_of_threads(tmp_path):
    path = tmp_path / "out.json"
    run("input_pipeline", *["--batch", "8", "--batches", "3", "--threads", "0", "1"], "--json", str(path))
    rows = json.loads(path.read_text())["rows"]
    assert [row["num_threads"] for row in rows] == [0, 1]
    assert all(row["batches_per_second"] > 0 for row in rows)
