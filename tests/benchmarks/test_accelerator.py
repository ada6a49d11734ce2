"""The command for a machine with an accelerator: what is kept of parts that fail or are cut."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import accelerator, correctness

ROWS = {
    "correctness": [
        {"name": "bfloat16 to float32", "loss": 1e-5, "grad_norm": 2e-4, "kernels": {"fmha": 4}}
    ],
    "vanilla": [{"name": "matmul"}, {"name": "vanilla", "median_ms": 12.5, "mfu": 0.41}],
}


def test_parts_are_kept_when_others_fail_or_no_time_is_left(monkeypatch, capsys, tmp_path):
    file, kept = tmp_path / "out.json", []

    def run(command, *, timeout, **options):
        kept.append(json.loads(file.read_text())["parts"] if file.exists() else {})
        assert 0 < timeout <= 60
        name = command[command.index("--only") + 2] if "--only" in command else "correctness"
        if name == "sampler":
            raise subprocess.TimeoutExpired(command, timeout)
        if name == "step_shared":
            return subprocess.CompletedProcess(command, 1, stderr="Trace\nout of memory\n")
        Path(command[-1]).write_text(json.dumps({"rows": ROWS[name]}))
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    parts = ["correctness", "imagenet vanilla", "imagenet sampler", "aist step_shared"]
    arguments = ["--minutes", "1", "--only", *parts, "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["accelerator", *arguments])
    with pytest.raises(SystemExit, match="imagenet sampler, aist step_shared: no result; see"):
        accelerator.main()
    assert [list(found) for found in kept] == [parts[:count] for count in range(4)]
    written = json.loads(file.read_text())["parts"]
    assert written["imagenet vanilla"]["rows"] == ROWS["vanilla"]
    assert written["imagenet sampler"]["error"] == "no time was left"
    assert written["aist step_shared"]["error"] == "out of memory"
    printed = capsys.readouterr().out
    assert "- bfloat16 to float32: losses differ by 1.0e-05 at most" in printed
    assert "| imagenet vanilla | 12.5 | 0.41 | not measured | not measured |" in printed
    assert "| imagenet sampler | not measured |" in printed


def test_a_part_that_no_time_is_left_for_is_not_begun(tmp_path):
    found = accelerator.measure(["no_such_benchmark"], tmp_path / "none.json", 0.0, {})
    assert found == {"error": "no time was left"}


@pytest.mark.parametrize(("loss", "agrees"), [(1.01, True), (1.05, False), (float("nan"), False)])
def test_losses_agree_within_the_limit(loss, agrees):
    one, other = ({"loss": x, "grad_norm": 2.0, "kernels": {}} for x in (loss, 1.0))
    assert correctness.compare("name", one, other, 0.02)["agrees"] == agrees


@pytest.mark.slow
def test_it_runs_on_a_processor(run_benchmark, tmp_path):
    """In sizes that take seconds; its rates are not those of an accelerator."""
    options = "--small --only correctness"
    printed, report = run_benchmark("accelerator", options, tmp_path / "out.json")
    part = report["parts"]["correctness"]
    assert part["environment"]["platform"] == "cpu"
    assert [row["name"] for row in part["rows"]] == [
        "fused attention to plain",
        "bfloat16 to float32",
    ]
    assert all(row["agrees"] for row in part["rows"])
    # Both precisions were compiled, and differ.
    assert part["rows"][1]["loss"] > 0
    assert "aist sampler_truncated | not measured" in printed
