"""The table of compiled steps, and rows that are not compiled again."""

import json
import sys

import pytest

from benchmarks import compile_all

FOUND = {
    "compiler": "libtpu 1", "batch_size": 64, "fits": False,
    "bytes": {"average": 10**9, "gradients": 10**9, "temporaries": 2 * 10**9, "total": 4 * 10**9},
    "computed_over_model": 1.0, "padded_over_model": 2.5,
    "collectives": {"all-reduce": 2e6}, "kernels": {},
}  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    compiled = []

    def compile_one(asked):
        compiled.append(asked["config"])
        return {"error": "it is too large"} if asked["config"] == "b" else FOUND

    monkeypatch.setattr(compile_all, "compile_one", compile_one)

    def run(*configs):
        arguments = ["--configs", *configs, "--targets", "tpu-v5e=2x2"]
        path = tmp_path / "rows.json"
        monkeypatch.setattr(sys, "argv", ["compile_all", *arguments, "--json", str(path)])
        compile_all.main()
        return compiled, capsys.readouterr().out.splitlines()[2:], json.loads(path.read_text())

    return run


def test_rows_are_kept_and_compiled_once(run):
    compiled, lines, _ = run("a", "b")
    assert compiled == ["a", "b"]
    assert lines == [
        "| a | tpu-v5e 2x2 | fsdp 1, tensor 1 | 64 | 1.00 | 4.00, too much | 1.00, 2.50 "
        "| all-reduce 2 | none |",
        "| b | tpu-v5e 2x2 | fsdp 1, tensor 1 | it is too large | | | | | |",
    ]
    compiled, lines, written = run("a", "c")
    assert compiled == ["a", "b", "c"]
    assert [row["config"] for row in written["rows"]] == ["a", "b", "c"]
    assert len(lines) == 3
