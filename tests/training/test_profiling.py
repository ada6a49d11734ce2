"""A trace of some steps: that it is one, of those steps, and of no others."""

import gzip
import json
import re

import pytest

from cdcd_jax.training.profiling import Profile, parse_profile
from tests.support.toy_run import run


def traced_steps(folder):
    """Return the numbers of the steps that Perfetto's file tells of, and XLA's file's size."""
    (trace,) = folder.glob("plugins/profile/*/*.trace.json.gz")
    (planes,) = folder.glob("plugins/profile/*/*.xplane.pb")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
    return sorted(int(step) for step in steps), planes.stat().st_size


def test_the_requested_steps_are_traced(tmp_path, capsys):
    profile = Profile(first=3, last=5, folder=tmp_path / "profile")
    run(tmp_path / "run", 7, profile=profile)
    steps, size = traced_steps(profile.folder)
    assert steps == [3, 4, 5]
    assert size > 1000
    assert f"Profile:     {profile.folder}" in capsys.readouterr().out


def test_a_run_that_goes_on_after_the_first_step_traces_the_rest(tmp_path):
    run(tmp_path / "run", 4)
    profile = Profile(first=3, last=6, folder=tmp_path / "profile")
    run(tmp_path / "run", 8, profile=profile)
    assert traced_steps(profile.folder)[0] == [5, 6]


def test_a_run_that_ends_early_ends_its_trace(tmp_path):
    profile = Profile(first=2, last=9, folder=tmp_path / "profile")
    run(tmp_path / "run", 4, profile=profile)
    assert traced_steps(profile.folder)[0] == [2, 3, 4]


@pytest.mark.parametrize("text", ["20:10", "a:b", "0:3", "10", "10:41", "-1:3", ":", "1:2:3"])
def test_steps_that_are_none_of_the_run_are_named(tmp_path, text):
    with pytest.raises(ValueError, match=rf"profile = {re.escape(text)} must be FIRST:LAST"):
        parse_profile(text, num_steps=40, folder=tmp_path)
