import pytest

SMALL = "--batch 4 --negatives 2 --images 20 --source-size 20 --image-size 16 --channels 8 "
SMALL += "--multipliers 1 --res-blocks 1 --codes 12 --shard-size 8 --rounds 1 --threads 1"


@pytest.mark.slow
def test_shards_and_encoding_on_the_fly_are_reported_side_by_side(run_benchmark, tmp_path):
    printed, report = run_benchmark("token_shards", SMALL, tmp_path / "out.json")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"shards", "on_the_fly", "on_the_fly_no_negatives"}
    for name, row in rows.items():
        assert name in printed
        assert row["examples_per_second"] > 0
    assert rows["on_the_fly"]["speed_to_on_the_fly"] == 1
    assert report["prepared_per_second"] > 0
