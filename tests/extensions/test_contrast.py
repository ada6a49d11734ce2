"""A contrastive term that is registered from outside, as docs/extending.md describes it."""

import json

CONFIG = "--config=tests/extensions/hinge_digits.py"


def test_a_term_from_outside_is_trained_with(run_forked, tmp_path):
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--mode=train")
    assert code == 0, output
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    contrast = [row["contrast"] for row in rows if "contrast" in row]
    assert contrast
    assert all(value > 0.0 for value in contrast)  # the package's own terms are negative
    assert json.loads((tmp_path / "summary.json").read_text())["config"]["loss"]["mechanism"] == (
        "hinge"
    )


def test_a_wrong_name_is_refused_with_the_ones_that_there_are(run_forked, tmp_path):
    code, output = run_forked(CONFIG, f"--workdir={tmp_path}", "--config.loss.mechanism=hing")
    assert code == 2, output
    assert 'loss.mechanism = "hing" must be one of "none", "step", "sample", "hinge"' in output
