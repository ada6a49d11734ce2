"""The table of compiled steps, and rows that are not compiled again."""

import json
import sys

import pytest

from benchmarks import compile_all

FOUND = {
    "compiler": "libtpu 1", "batch_size": 64, "fits": False, "model_flops": 1e12,
    "bytes": {"average": 10**9, "gradients": 10**9, "temporaries": 2 * 10**9, "total": 4 * 10**9},
    "computed_over_model": 1.0, "padded_over_model": 2.5,
    "collectives": {"all-reduce": 2e6}, "kernels": {}, "throughput": 1234.5,
}  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    compiled = []

    def compile_one(asked):
        compiled.append(asked["config"])
        return {"error": "it is too large"} if asked["config"] == "b" else FOUND

    monkeypatch.setattr(compile_all, "compile_one", compile_one)
    # It would be for all tests of this process.
    monkeypatch.setattr(compile_all, "simulate_devices", lambda count: None)

    def run(*configs, options=()):
        arguments = ["--configs", *configs, "--targets", "tpu-v5e=2x2", *options]
        path = tmp_path / "rows.json"
        monkeypatch.setattr(sys, "argv", ["compile_all", *arguments, "--json", str(path)])
        compile_all.main()
        return compiled, capsys.readouterr().out.splitlines()[2:], json.loads(path.read_text())

    return run


def test_rows_are_kept_and_compiled_once(run):
    compiled, lines, _ = run("a", "b")
    assert compiled == ["a", "b"]
    assert lines == [
        "| a | train | tpu-v5e 2x2 | fsdp 1, tensor 1 | 64 | 1.00 | 4.00, too much | 1.00, 2.50 "
        "| all-reduce 2 | 1,234 | none |",
        "| b | train | tpu-v5e 2x2 | fsdp 1, tensor 1 | it is too large | | | | | | |",
    ]
    compiled, lines, written = run("a", "c")
    assert compiled == ["a", "b", "c"]
    assert [row["config"] for row in written["rows"]] == ["a", "b", "c"]
    assert len(lines) == 3
    compiled, lines, _ = run("a", options=["--what", "sample", "train"])
    assert compiled == ["a", "b", "c", "a"]
    assert lines[-1].startswith("| a | sample | tpu-v5e 2x2")


def test_the_stand_in_is_compared_with_the_compiler(run, monkeypatch):
    halved = {"gradients": 10**9, "temporaries": 5 * 10**8, "total": 2 * 10**9}
    monkeypatch.setattr(compile_all, "compile_stand_in", lambda asked: halved)
    _, lines, written = run("a", "b", options=["--cpus"])
    assert lines[-1] == "| a | tpu-v5e 2x2 | 2.00 | 4.00 | 0.50 | 1.50 | 3.00 | 0.50 |"
    assert ["stand_in" in row for row in written["rows"]] == [True, False]


def request(**changes):
    asked = {"config": "a", "what": "train", "target": "tpu-v5e=2x2", "fsdp": 1, "tensor": 1}
    return asked | {"per_chip": None, "dtype": "bfloat16"} | FOUND | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"bytes": {"total": 4.1e9}}, None),
        ({"bytes": {"total": 1e9}, "padded_over_model": 1.2, "collectives": {}}, None),
        ({"bytes": {"total": 4.2e9}}, "bytes of a chip 4.2e+09, before 4e+09"),
        ({"padded_over_model": 2.6}, "FLOPs with padding 2.6e+12, before 2.5e+12"),
        (
            {"collectives": {"all-reduce": 2e6, "all-gather": 1e6}},
            "bytes sent 3e+06, before 2e+06",
        ),
        ({"kernels": {"splash": 2}}, "kernels {'splash': 2}, before {}"),
        ({"error": "it is too large"}, "it is too large"),
        ({"config": "c"}, "there is no such row"),
    ],
)
def test_a_regression_is_named_with_both_figures(changes, sentence):
    found = compile_all.find_regressions([request(**changes)], [request()])
    name = f"config {changes.get('config', 'a')}, what train, target tpu-v5e=2x2, fsdp 1, tensor 1"
    assert found == ([f"{name}, per_chip None, dtype bfloat16: {sentence}"] if sentence else [])


def test_a_regression_ends_the_command(run, tmp_path):
    before = tmp_path / "before.json"
    before.write_text(json.dumps({"rows": [request(padded_over_model=1.5)]}))
    with pytest.raises(SystemExit, match=r"worse than before\nconfig a.*2.5e\+12, before 1.5e\+12"):
        run("a", options=["--against", str(before)])
