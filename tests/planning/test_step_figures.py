"""Small steps, compiled for TPUs and GPUs, against committed figures.

After a change that is meant to cost more, `python -m benchmarks.compile_all` makes
compiled_small.json again from the requests in it.
"""

import json
from pathlib import Path

import pytest

from benchmarks.compile_all import REQUEST, compile_one, find_regressions

FIGURES = json.loads(Path(__file__).with_name("compiled_small.json").read_text())["rows"]


@pytest.mark.parametrize(
    "before", FIGURES, ids=lambda row: f"{row['config']}-{row['target']}-{row['fsdp']}"
)
def test_a_compiled_step_is_no_worse_than_the_committed_one(before):
    """Neither memory, nor padding, nor what is sent grows, and the same kernels are called."""
    pytest.importorskip("libtpu" if before["target"].startswith("tpu") else "jax_cuda12_plugin")
    asked = {key: before[key] for key in REQUEST}
    row = asked | compile_one(asked)
    assert find_regressions([row], [before]) == []
    assert before["padded_over_model"] >= before["computed_over_model"] >= 0.99
