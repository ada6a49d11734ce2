"""A data set, a condition and a metric from outside, as docs/extending.md describes them."""

import json

import pytest

CONFIG = "--config=tests/extensions/stripes.py"


def test_they_are_trained_evaluated_and_sampled_with(run_forked, tmp_path):
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--mode=train")
    assert code == 0, output
    assert "brightness" in output
    summary = json.loads((tmp_path / "summary.json").read_text())
    real = next(row for row in summary["rows"] if row["name"].startswith("real"))
    assert 0.3 < real["brightness"] < 0.7  # of stripes that are 0 or 1 at random
    assert 0.0 <= summary["brightness"] <= 1.0
    assert summary["config"]["condition"]["kind"] == "direction"
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--mode=sample", "--label=1")
    assert code == 0, output
    assert len([*(tmp_path / "samples").glob("*.png")]) == 1


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("data.name=stripe", 'data.name = "stripe" is not a data set: did you mean stripes'),
        ("condition.kind=directions", "did you mean direction"),
        ("eval.metrics=('bright',)", 'eval.metrics = "bright" is not a metric'),
    ],
)
def test_a_wrong_name_is_refused_before_any_work(run_forked, tmp_path, flag, sentence):
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", f"--config.{flag}")
    assert code == 2, output
    assert sentence in output
