import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = "--batch 4 --negatives 2 --pictures 20 --picture-size 20 --image-size 16 --channels 8 "
SMALL += "--multipliers 1 --res-blocks 1 --codes 12 --shard-size 8 --rounds 1 --threads 1"


@pytest.mark.slow
def test_shards_and_encoding_on_the_fly_are_reported_side_by_side(tmp_path):
    path = tmp_path / "out.json"
    command = [sys.executable, "-m", "benchmarks.token_shards", *SMALL.split(), "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    report = json.loads(path.read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"shards", "on_the_fly", "on_the_fly_no_negatives"}
    for name, row in rows.items():
        assert name in done.stdout
        assert row["examples_per_second"] > 0
    assert rows["on_the_fly"]["speed_to_on_the_fly"] == 1
    assert report["prepared_per_second"] > 0
